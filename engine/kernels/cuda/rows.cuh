// The peak of a row, and the sum of its exponentials below that: what softmax and cross-entropy begin with.

// The largest of n numbers, `step` apart; 0 where that is -inf, because -inf - -inf is NaN.
static __device__ __forceinline__ A peak(const T* x, Int n, Int step) {
    A m = -infinity();
    for (Int i = threadIdx.x; i < n; i += blockDim.x) m = larger(load(x[i * step]), m);
    m = row_max(m);
    return m == -infinity() ? A(0) : m;
}

// Sum(i, exp(x[i] - m))
static __device__ __forceinline__ A sum_exp(const T* x, Int n, Int step, A m) {
    A sum = A(0);
    for (Int i = threadIdx.x; i < n; i += blockDim.x) sum += exp(load(x[i * step]) - m);
    return row_sum(sum);
}
