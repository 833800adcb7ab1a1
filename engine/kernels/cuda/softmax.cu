// Softmax and its logarithm along any axis of (outer, n, inner): row r of count = outer * inner starts at `start`, its
// numbers are `inner` apart.
//
//     for row:                                      # rows(count, n): a warp each, or a block each where n is large
//         m = max(i, x[i])                          # lanes go side by side, then tell each other
//         s = Sum(i, exp(x[i] - m))
//         for i: y[i] = exp(x[i] - m) / s           # or x[i] - m - log(s)
//
// A row of nothing but -inf has s = 0: softmax gives zeros, the logarithm stays -inf.
#include "rows.cuh"

static __device__ __forceinline__ Int start(Int row, Int n, Int inner) {
    return row / inner * n * inner + row % inner;
}

extern "C" __global__ void softmax_rows(const T* __restrict__ x, T* __restrict__ y, Int count, Int n, Int inner) {
    const Int row = this_row();
    if (row >= count) return;
    x += start(row, n, inner);
    y += start(row, n, inner);
    const A m = peak(x, n, inner), s = sum_exp(x, n, inner, m);
    const A scale = s == A(0) ? A(0) : A(1) / s;
    for (Int i = threadIdx.x; i < n; i += blockDim.x) y[i * inner] = store(exp(load(x[i * inner]) - m) * scale);
}

extern "C" __global__ void log_softmax_rows(const T* __restrict__ x, T* __restrict__ y, Int count, Int n, Int inner) {
    const Int row = this_row();
    if (row >= count) return;
    x += start(row, n, inner);
    y += start(row, n, inner);
    const A m = peak(x, n, inner), s = sum_exp(x, n, inner, m);
    const A ln = s == A(0) ? A(0) : log(s);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) y[i * inner] = store(load(x[i * inner]) - m - ln);
}

// y = p (g - Sum(r, g_r p_r))
extern "C" __global__ void softmax_gradient_rows(const T* __restrict__ g, const T* __restrict__ p, T* __restrict__ y,
                                                 Int count, Int n, Int inner) {
    const Int row = this_row();
    if (row >= count) return;
    g += start(row, n, inner);
    p += start(row, n, inner);
    y += start(row, n, inner);
    A dot = A(0);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) dot += load(g[i * inner]) * load(p[i * inner]);
    dot = row_sum(dot);
    for (Int i = threadIdx.x; i < n; i += blockDim.x)
        y[i * inner] = store(load(p[i * inner]) * (load(g[i * inner]) - dot));
}

// y = g - exp(log_p) Sum(r, g_r)
extern "C" __global__ void log_softmax_gradient_rows(const T* __restrict__ g, const T* __restrict__ log_p,
                                                     T* __restrict__ y, Int count, Int n, Int inner) {
    const Int row = this_row();
    if (row >= count) return;
    g += start(row, n, inner);
    log_p += start(row, n, inner);
    y += start(row, n, inner);
    A sum = A(0);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) sum += load(g[i * inner]);
    sum = row_sum(sum);
    for (Int i = threadIdx.x; i < n; i += blockDim.x)
        y[i * inner] = store(load(g[i * inner]) - exp(load(log_p[i * inner])) * sum);
}
