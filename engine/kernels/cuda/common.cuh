// What all kernels share. T is what arrays hold, A what is computed in; launch.py has named both.
//
// A thread block over rows is (lanes, rows): `blockDim.x` threads go along a row, side by side. Either that is one warp,
// and a block has several rows, or the whole block has one row: then lanes meet in shared memory.

typedef long long Int;

static __device__ __forceinline__ A load(const T& x) { return TO_A(x); }
static __device__ __forceinline__ T store(A x) { return TO_T(x); }

static __device__ __forceinline__ A infinity() { return (A)__int_as_float(0x7f800000); }

// The first element of this thread, and how far it is to its next.
static __device__ __forceinline__ Int first_element() { return blockIdx.x * (Int)blockDim.x + threadIdx.x; }
static __device__ __forceinline__ Int element_step() { return gridDim.x * (Int)blockDim.x; }

// The row of this thread.
static __device__ __forceinline__ Int this_row() { return blockIdx.x * (Int)blockDim.y + threadIdx.y; }

static __device__ __forceinline__ A larger(A a, A b) { return a > b ? a : b; }

// Where the warps of a row meet.
static __device__ __forceinline__ A* meeting_place() {
    __shared__ A parts[32];
    return parts;
}

// Sum of v over the lanes of a row, in each of them: always in the same order.
static __device__ __forceinline__ A row_sum(A v) {
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    if (blockDim.x == 32) return v;
    A* parts = meeting_place();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = A(0);
    for (int warp = 0; warp < blockDim.x / 32; warp++) v += parts[warp];
    __syncthreads();  // all have read: who meets next may write
    return v;
}

// The largest v of a row, in each of its lanes. A NaN is passed over: the sums that follow meet it.
static __device__ __forceinline__ A row_max(A v) {
    for (int step = 16; step > 0; step /= 2) v = larger(v, __shfl_xor_sync(0xffffffffu, v, step));
    if (blockDim.x == 32) return v;
    A* parts = meeting_place();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    v = parts[0];
    for (int warp = 1; warp < blockDim.x / 32; warp++) v = larger(v, parts[warp]);
    __syncthreads();
    return v;
}
