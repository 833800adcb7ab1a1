// Rows of a table, and sums of rows that go to the same place, without atomics: the same bits each time.
//
// The gradient sorts the places 0 .. N - 1 by their ids, four bits at a time (a stable counting sort), and then
//
//     for window of 64 places, for column:                          # a block for each window and 128 columns
//         walk through the window; where the id changes, table[id] += sum
//         sums that reach beyond the window's begin or end are kept: `firsts`, `lasts`
//     for window in which a sum begins that goes on behind it, for column:
//         table[id] += lasts[window] + firsts[window + 1] + ...     # until the sum ends
//
// Each row of the table is written by one block of each of the two steps.

const Int WINDOW = 64, CHUNK = 32;  // of sorted places; of places that one thread sorts
const int DIGITS = 16;

static __device__ __forceinline__ Int inside(Int id, Int rows) { return id < 0 ? 0 : id < rows ? id : rows - 1; }

extern "C" __global__ void embedding(const Int* __restrict__ ids, const T* __restrict__ table, T* __restrict__ y, Int n,
                                     Int rows, Int D) {
    for (Int i = first_element(); i < n; i += element_step()) y[i] = table[inside(ids[i / D], rows) * D + i % D];
}

// ------------------------------------------------------------------------------------------------ the order of ids
static __device__ __forceinline__ int digit(const Int* ids, const Int* order, Int i, Int rows, Int shift) {
    return (int)(inside(ids[order ? order[i] : i], rows) >> shift) & (DIGITS - 1);
}

// counts (16, threads): how many of a thread's chunk have each digit.
extern "C" __global__ void count_digits(const Int* __restrict__ ids, const Int* __restrict__ order,
                                        Int* __restrict__ counts, Int n, Int rows, Int shift, Int threads) {
    const Int t = first_element();
    if (t >= threads) return;
    for (int d = 0; d < DIGITS; d++) counts[d * threads + t] = 0;
    for (Int i = t * CHUNK; i < (t + 1) * CHUNK && i < n; i++) counts[digit(ids, order, i, rows, shift) * threads + t]++;
}

// starts (16, threads): where the next of each digit and chunk goes. Null `order`: places lie in their own order.
extern "C" __global__ void place_digits(const Int* __restrict__ ids, const Int* __restrict__ order,
                                        Int* __restrict__ starts, Int* __restrict__ ordered, Int n, Int rows, Int shift,
                                        Int threads) {
    const Int t = first_element();
    if (t >= threads) return;
    for (Int i = t * CHUNK; i < (t + 1) * CHUNK && i < n; i++)
        ordered[starts[digit(ids, order, i, rows, shift) * threads + t]++] = order ? order[i] : i;
}

// ------------------------------------------------------------------------------------------------ sums
static __device__ __forceinline__ Int id_at(const Int* ids, const Int* order, Int i, Int rows) {
    return inside(ids[order[i]], rows);
}

extern "C" __global__ void window_sums(const T* __restrict__ g, const Int* __restrict__ ids,
                                       const Int* __restrict__ order, T* __restrict__ table, A* __restrict__ firsts,
                                       A* __restrict__ lasts, Int n, Int rows, Int D) {
    const Int tiles = (D + blockDim.x - 1) / blockDim.x, window = blockIdx.x / tiles;
    const Int c = blockIdx.x % tiles * blockDim.x + threadIdx.x;
    if (c >= D) return;
    const Int first = window * WINDOW, behind = first + WINDOW < n ? first + WINDOW : n;
    Int id = id_at(ids, order, first, rows);
    bool earlier = first > 0 && id_at(ids, order, first - 1, rows) == id;  // does the sum begin in an earlier window?
    A sum = A(0);
    for (Int i = first; i < behind; i++) {
        sum += load(g[order[i] * D + c]);
        const Int next = i + 1 < n ? id_at(ids, order, i + 1, rows) : -1;
        if (next == id && i + 1 < behind) continue;
        if (earlier)
            firsts[window * D + c] = sum;
        else if (next == id)
            lasts[window * D + c] = sum;
        else
            table[id * D + c] = store(load(table[id * D + c]) + sum);
        id = next;
        earlier = false;
        sum = A(0);
    }
}

extern "C" __global__ void spanning_sums(const Int* __restrict__ ids, const Int* __restrict__ order,
                                         T* __restrict__ table, const A* __restrict__ firsts,
                                         const A* __restrict__ lasts, Int n, Int rows, Int D) {
    const Int tiles = (D + blockDim.x - 1) / blockDim.x;
    Int window = blockIdx.x / tiles;
    const Int c = blockIdx.x % tiles * blockDim.x + threadIdx.x, first = window * WINDOW;
    Int behind = first + WINDOW;
    if (c >= D || behind >= n) return;
    const Int id = id_at(ids, order, behind - 1, rows);
    if (id_at(ids, order, behind, rows) != id) return;                              // nothing goes on behind it
    if (first > 0 && id_at(ids, order, first, rows) == id && id_at(ids, order, first - 1, rows) == id) return;  // or begins
    A sum = lasts[window * D + c];
    while (behind < n && id_at(ids, order, behind, rows) == id) {
        sum += firsts[++window * D + c];
        behind += WINDOW;
        if (behind < n && id_at(ids, order, behind - 1, rows) != id) break;
    }
    table[id * D + c] = store(load(table[id * D + c]) + sum);
}
