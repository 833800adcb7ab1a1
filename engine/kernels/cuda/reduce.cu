// Reductions of x (outer, n, inner) over its middle axis, in stretches: y (outer, stretches, inner) in A, which is reduced
// again where there are several. So rounding grows with the stretch and their number, not with n.
//
//     inner = 1     for row, for stretch of 4096 numbers:      # rows(..): a warp or a block each
//                       y = join(enter(x[i], centre) for i in the stretch)     # lanes side by side, then across
//     inner > 1     for outer, for stretch of 256 rows, for 32 columns:        # columns(..): 32 x 8 threads each
//                       y[column] = join(enter(x[row, column], centre) for row in the stretch)
//
// `op` says what is joined, and how a number v enters beside its centre c; centres are `centre_step` (0: one for all) apart.

enum Operator { SUM, MAX, MIN, DIFFERENCES, SQUARES, EXPONENTIALS };

static __device__ __forceinline__ A nothing(Int op) { return op == MAX ? -infinity() : op == MIN ? infinity() : A(0); }

static __device__ __forceinline__ A enter(Int op, A v, A c) {
    switch (op) {
        case DIFFERENCES: return v - c;
        case SQUARES: return (v - c) * (v - c);
        case EXPONENTIALS: return exp(v - c);
        default: return v;
    }
}

static __device__ __forceinline__ A join(Int op, A a, A b) {  // of MAX and MIN a NaN is the result
    switch (op) {
        case MAX: return a != a || a > b ? a : b;
        case MIN: return a != a || a < b ? a : b;
        default: return a + b;
    }
}

const Int STRETCH = 4096;
extern "C" __global__ void reduce_rows(const T* __restrict__ x, const A* __restrict__ centres, A* __restrict__ y,
                                       Int count, Int n, Int stretches, Int centre_step, Int op) {
    const Int item = this_row();
    if (item >= count) return;
    const Int row = item / stretches, first = item % stretches * STRETCH;
    const Int behind = first + STRETCH < n ? first + STRETCH : n;
    const A c = centres ? centres[row * centre_step] : A(0);
    A v = nothing(op);
    for (Int i = first + threadIdx.x; i < behind; i += blockDim.x) v = join(op, v, enter(op, load(x[row * n + i]), c));
    for (int step = 16; step > 0; step /= 2) v = join(op, v, __shfl_xor_sync(0xffffffffu, v, step));
    if (blockDim.x > 32) {
        __shared__ A parts[32];
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
        __syncthreads();
        v = parts[0];
        for (int warp = 1; warp < blockDim.x / 32; warp++) v = join(op, v, parts[warp]);
    }
    if (threadIdx.x == 0) y[item] = v;
}

const Int STRETCH_ROWS = 256;
extern "C" __global__ void reduce_columns(const T* __restrict__ x, const A* __restrict__ centres, A* __restrict__ y,
                                          Int n, Int inner, Int stretches, Int centre_step, Int op) {
    const Int tiles = (inner + 31) / 32, item = blockIdx.x / tiles;
    const Int column = blockIdx.x % tiles * 32 + threadIdx.x;
    const Int outer = item / stretches, first = item % stretches * STRETCH_ROWS;
    const Int behind = first + STRETCH_ROWS < n ? first + STRETCH_ROWS : n;
    __shared__ A parts[8][32];
    A v = nothing(op);
    if (column < inner) {
        const A c = centres ? centres[(outer * inner + column) * centre_step] : A(0);
        for (Int i = first + threadIdx.y; i < behind; i += 8)
            v = join(op, v, enter(op, load(x[(outer * n + i) * inner + column]), c));
    }
    parts[threadIdx.y][threadIdx.x] = v;
    __syncthreads();
    if (threadIdx.y == 0 && column < inner) {
        for (int k = 1; k < 8; k++) v = join(op, v, parts[k][threadIdx.x]);
        y[item * inner + column] = v;
    }
}
