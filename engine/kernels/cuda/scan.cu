// For float32, float64, float16, bfloat16, int64 only: running sums along the middle axis of (outer, n, inner), in
// stretches of 1024 numbers.
//
//     for stretch: y = its running sums, and total = the last of them          # a block of 256 threads each
//         thread: the sum of its 4 numbers; what lies before it in the warp, by shuffles; before its warp, in shared memory
//     the running sums of the totals, the same way                             # (scan.py)
//     for stretch: y += what lies before it                                    # elements(n)
//
// Totals and what is before are in A. y has `longer` numbers where x has n, the first `skip` of which are 0.

const Int STRETCH = 1024, EACH = 4;

extern "C" __global__ void scan_stretches(const T* __restrict__ x, A* __restrict__ sums, A* __restrict__ totals, Int n,
                                          Int inner, Int stretches) {
    const Int item = blockIdx.x, stretch = item % stretches, row = item / stretches;  // row = outer, inner
    const Int start = row / inner * n * inner + row % inner, first = stretch * STRETCH + threadIdx.x * EACH;
    A mine[EACH], sum = A(0);
    for (int k = 0; k < EACH; k++) {
        sum += first + k < n ? load(x[start + (first + k) * inner]) : A(0);
        mine[k] = sum;
    }
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    A upto = sum;  // the sums of this thread and of those before it in the warp
    for (int step = 1; step < 32; step *= 2) {
        const A other = __shfl_up_sync(0xffffffffu, upto, step);
        if (lane >= step) upto += other;
    }
    __shared__ A warps[8];
    if (lane == 31) warps[warp] = upto;
    __syncthreads();
    A before = A(0);
    for (int w = 0; w < warp; w++) before += warps[w];
    const A earlier = __shfl_up_sync(0xffffffffu, upto, 1);
    if (lane > 0) before += earlier;
    for (int k = 0; k < EACH; k++)
        if (first + k < n) sums[start + (first + k) * inner] = before + mine[k];
    if (threadIdx.x == blockDim.x - 1) totals[row * stretches + stretch] = before + sum;
}

// `before`: the running sums of the totals, (outer, inner, stretches); null where there is one stretch.
extern "C" __global__ void add_before(const A* __restrict__ sums, const A* __restrict__ before, T* __restrict__ y,
                                      Int size, Int n, Int inner, Int stretches, Int skip) {
    const Int longer = n + skip;
    for (Int i = first_element(); i < size; i += element_step()) {
        const Int t = i / inner % longer - skip, row = i / (longer * inner) * inner + i % inner;
        A v = A(0);
        if (t >= 0) {
            v = sums[row / inner * n * inner + t * inner + row % inner];
            if (before && t >= STRETCH) v += before[row * stretches + t / STRETCH - 1];
        }
        y[i] = store(v);
    }
}
