// Losses of rows of logits z (count, n), and their gradients. lse = log(Sum(r, exp(z_r))) is kept in A for the gradient.
//
//     for row:                                      # rows(count, n): a warp each, or a block each where n is large
//         m = max(r, z[r]);  lse = m + log(Sum(r, exp(z[r] - m)))
//         loss = lse - z[label]                     # or Sum(r, q[r] (lse - z[r])) for probabilities q
//
// With smoothing a, the truth is (1 - a) q + a / n. A row of nothing but -inf has lse = -inf, and infinite losses.
#include "rows.cuh"

static __device__ __forceinline__ A log_sum_exp(const T* z, Int n) {
    const A m = peak(z, n, 1), s = sum_exp(z, n, 1, m);
    return s == A(0) ? -infinity() : m + log(s);
}

// What logits are measured from: lse, but for masked rows, where -inf - -inf would be NaN.
static __device__ __forceinline__ A level(A lse) { return lse == -infinity() ? A(0) : lse; }

// The op refuses labels outside of 0 .. n - 1; until it has done so, nothing beside the row is read.
static __device__ __forceinline__ Int inside(Int label, Int n) { return label < 0 ? 0 : label < n ? label : n - 1; }

extern "C" __global__ void label_losses(const Int* __restrict__ labels, const T* __restrict__ z, T* __restrict__ losses,
                                        A* __restrict__ lses, Int count, Int n, A smoothing) {
    const Int row = this_row();
    if (row >= count) return;
    z += row * n;
    const A lse = log_sum_exp(z, n), shift = level(lse);
    A loss = shift - load(z[inside(labels[row], n)]);
    if (smoothing != A(0)) {
        A sum = A(0);
        for (Int i = threadIdx.x; i < n; i += blockDim.x) sum += shift - load(z[i]);
        loss = (A(1) - smoothing) * loss + smoothing * (row_sum(sum) / A(n));
    }
    if (threadIdx.x == 0) {
        losses[row] = store(loss);
        lses[row] = lse;
    }
}

// z_bar = (softmax(z) - (1 - a) e_label - a / n) g
extern "C" __global__ void label_losses_gradient(const T* __restrict__ g, const Int* __restrict__ labels,
                                                 const T* __restrict__ z, const A* __restrict__ lses,
                                                 T* __restrict__ z_bar, Int count, Int n, A smoothing) {
    const Int row = this_row();
    if (row >= count) return;
    z += row * n;
    z_bar += row * n;
    const A shift = level(lses[row]), scale = load(g[row]), share = smoothing / A(n);
    const Int label = inside(labels[row], n);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) {
        const A truth = i == label ? (A(1) - smoothing) + share : share;
        z_bar[i] = store((exp(load(z[i]) - shift) - truth) * scale);
    }
}

extern "C" __global__ void probability_losses(const T* __restrict__ q, const T* __restrict__ z, T* __restrict__ losses,
                                              A* __restrict__ lses, Int count, Int n, A smoothing) {
    const Int row = this_row();
    if (row >= count) return;
    q += row * n;
    z += row * n;
    const A lse = log_sum_exp(z, n), shift = level(lse), share = smoothing / A(n);
    A sum = A(0);
    for (Int i = threadIdx.x; i < n; i += blockDim.x)
        sum += (shift - load(z[i])) * ((A(1) - smoothing) * load(q[i]) + share);
    sum = row_sum(sum);
    if (threadIdx.x == 0) {
        losses[row] = store(sum);
        lses[row] = lse;
    }
}

// z_bar = (softmax(z) Sum(r, q_r) - q) g, where q is smoothed
extern "C" __global__ void probability_losses_gradient(const T* __restrict__ g, const T* __restrict__ q,
                                                       const T* __restrict__ z, const A* __restrict__ lses,
                                                       T* __restrict__ z_bar, Int count, Int n, A smoothing) {
    const Int row = this_row();
    if (row >= count) return;
    q += row * n;
    z += row * n;
    z_bar += row * n;
    A sum = A(0);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) sum += load(q[i]);
    const A weight = (A(1) - smoothing) * row_sum(sum) + smoothing;
    const A shift = level(lses[row]), scale = load(g[row]), share = smoothing / A(n);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) {
        const A truth = (A(1) - smoothing) * load(q[i]) + share;
        z_bar[i] = store((exp(load(z[i]) - shift) * weight - truth) * scale);
    }
}

// q_bar = (1 - a) (lse - z) g
extern "C" __global__ void probability_losses_slope(const T* __restrict__ g, const T* __restrict__ z,
                                                    const A* __restrict__ lses, T* __restrict__ q_bar, Int count, Int n,
                                                    A smoothing) {
    const Int row = this_row();
    if (row >= count) return;
    const A shift = level(lses[row]), scale = (A(1) - smoothing) * load(g[row]);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) q_bar[row * n + i] = store((shift - load(z[row * n + i])) * scale);
}
