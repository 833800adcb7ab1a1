// What formulas are made of, besides what CUDA C++ has words for. Reals and wholes have one vocabulary, so that an op's
// record names a function once; which namespace the formula stands in decides what it means.
#ifdef __CUDACC_RTC__
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

template <class V, class S> __device__ __forceinline__ V load(const S& x) { return (V)x; }
template <class S, class V> __device__ __forceinline__ S store(const V& x) { return (S)x; }

namespace reals {
template <class V> __device__ __forceinline__ V abs(V x) { return fabs(x); }
template <class V> __device__ __forceinline__ V floor_divide(V a, V b) {  // of the exact remainder, as NumPy
    if (b == V(0)) return a / b;
    V r = fmod(a, b);
    V q = (a - r) / b;
    if (r != V(0) && (r < V(0)) != (b < V(0))) q -= V(1);
    if (q == V(0)) return copysign(V(0), a / b);
    V below = floor(q);
    return q - below > V(0.5) ? below + V(1) : below;
}
template <class V> __device__ __forceinline__ V remainder_of(V a, V b) {  // of the divisor's sign
    V r = fmod(a, b);
    if (r == V(0)) return copysign(V(0), b);
    return (r < V(0)) != (b < V(0)) ? r + b : r;
}
}

namespace wholes {
template <class I> __device__ __forceinline__ I floor(I x) { return x; }
template <class I> __device__ __forceinline__ I ceil(I x) { return x; }
template <class I> __device__ __forceinline__ I trunc(I x) { return x; }
template <class I> __device__ __forceinline__ I rint(I x) { return x; }
template <class I> __device__ __forceinline__ I abs(I x) { return x < I(0) ? I(-x) : x; }
template <class I> __device__ __forceinline__ bool isnan(I) { return false; }
template <class I> __device__ __forceinline__ bool isinf(I) { return false; }
template <class I> __device__ __forceinline__ bool isfinite(I) { return true; }
template <class I> __device__ __forceinline__ bool signbit(I x) { return x < I(0); }
template <class I> __device__ __forceinline__ I floor_divide(I a, I b) {
    if (b == I(0)) return I(0);
    I q = I(a / b);
    return I(q - I(I(q * b) != a && (a < I(0)) != (b < I(0))));
}
template <class I> __device__ __forceinline__ I remainder_of(I a, I b) {
    return b == I(0) ? I(0) : I(a - I(floor_divide(a, b) * b));
}
template <class I> __device__ __forceinline__ I pow(I a, I n) {  // 1 / a^n is whole for a = 1 and -1 alone
    if (n < I(0)) return a == I(1) || a == I(-1) ? (n & I(1) ? a : I(1)) : I(0);
    I y = I(1);
    for (; n > I(0); n = I(n >> 1), a = I(a * a))
        if (n & I(1)) y = I(y * a);
    return y;
}
template <class I> __device__ __forceinline__ I shift_left(I a, I n) {  // by as many bits as there are: nothing is left
    return n >= I(0) && n < I(8 * sizeof(I)) ? I(a << n) : I(0);
}
template <class I> __device__ __forceinline__ I shift_right(I a, I n) {
    return n >= I(0) && n < I(8 * sizeof(I)) ? I(a >> n) : I(a < I(0) ? -1 : 0);
}
template <class I> __device__ __forceinline__ I invert(I a) { return I(~a); }
__device__ __forceinline__ bool invert(bool a) { return !a; }
}
