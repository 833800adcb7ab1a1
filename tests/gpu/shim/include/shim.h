// What CUDA C++ adds to C++, for the text of a kernel that g++ compiles. See runtime.cpp.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "../launch.h"

// Where CUDA's own headers are on the path, its own vectors; else the few that our kernels know.
#if __has_include(<vector_types.h>)
#include <vector_types.h>
#include <vector_functions.h>
#else
struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
#endif

#define SHIM 1
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#undef __noinline__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __noinline__
#define __shared__ static __attribute__((section("shim_shared")))
#define __ldg(p) (*(p))

extern shim_uint3 shim_thread, shim_block, shim_block_dim, shim_grid_dim;
extern char* shim_dynamic_shared;
#define threadIdx shim_thread
#define blockIdx shim_block
#define blockDim shim_block_dim
#define gridDim shim_grid_dim
static constexpr int warpSize = 32;

extern "C" {
void shim_barrier();
void shim_warp_barrier(unsigned mask, int orders_memory);
uint64_t shim_exchange(unsigned mask, uint64_t value, int source);
int shim_lane();
void shim_atomic(void* place, size_t size);
extern char __start_shim_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_shim_shared[] __attribute__((weak, visibility("hidden")));
}

// ------------------------------------------------------------------------------------------------ barriers and warps
static inline void __syncthreads() { shim_barrier(); }
static inline void __syncwarp(unsigned mask = ~0u) { shim_warp_barrier(mask, 1); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

namespace shim {
template <class V> V exchange(unsigned mask, V value, int source) {
    static_assert(sizeof(V) <= 8, "");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = shim_exchange(mask, bits, source);
    memcpy(&value, &bits, sizeof value);
    return value;
}
inline int same_part(int source, int width) {  // a lane beyond its part of the warp is the lane itself
    int lane = shim_lane();
    return (source & ~(width - 1)) == (lane & ~(width - 1)) ? source : lane;
}
}  // namespace shim

template <class V> V __shfl_sync(unsigned mask, V v, int source, int width = 32) {
    return shim::exchange(mask, v, (shim_lane() & ~(width - 1)) + (source & (width - 1)));
}
template <class V> V __shfl_down_sync(unsigned mask, V v, unsigned step, int width = 32) {
    return shim::exchange(mask, v, shim::same_part(shim_lane() + (int)step, width));
}
template <class V> V __shfl_up_sync(unsigned mask, V v, unsigned step, int width = 32) {
    int source = shim_lane() - (int)step;
    return shim::exchange(mask, v, source < 0 ? shim_lane() : shim::same_part(source, width));
}
template <class V> V __shfl_xor_sync(unsigned mask, V v, int bits, int width = 32) {
    return shim::exchange(mask, v, shim::same_part(shim_lane() ^ bits, width));
}
static inline unsigned __ballot_sync(unsigned mask, int test) {
    unsigned votes = 0;
    for (int k = 0; k < 32; k++)
        if (mask >> k & 1) votes |= (unsigned)(shim::exchange(mask, test, k) != 0) << k;
    return votes;
}
static inline int __any_sync(unsigned mask, int test) { return __ballot_sync(mask, test) != 0; }
static inline int __all_sync(unsigned mask, int test) { return __ballot_sync(mask, test) == mask; }
static inline unsigned __activemask() { return ~0u; }

// ------------------------------------------------------------------------------------------------ atomics
namespace shim {
template <class V, class F> __attribute__((no_sanitize("thread"))) V atomic(V* place, F change) {
    shim_atomic((void*)place, sizeof *place);
    V old = *place;
    *place = change(old);
    return old;
}
}  // namespace shim
template <class V, class U> V atomicAdd(V* p, U v) { return shim::atomic(p, [=](V o) { return (V)(o + (V)v); }); }
template <class V, class U> V atomicSub(V* p, U v) { return shim::atomic(p, [=](V o) { return (V)(o - (V)v); }); }
template <class V, class U> V atomicMax(V* p, U v) { return shim::atomic(p, [=](V o) { return (V)v > o ? (V)v : o; }); }
template <class V, class U> V atomicMin(V* p, U v) { return shim::atomic(p, [=](V o) { return (V)v < o ? (V)v : o; }); }
template <class V, class U> V atomicOr(V* p, U v) { return shim::atomic(p, [=](V o) { return (V)(o | (V)v); }); }
template <class V, class U> V atomicAnd(V* p, U v) { return shim::atomic(p, [=](V o) { return (V)(o & (V)v); }); }
template <class V, class U> V atomicExch(V* p, U v) { return shim::atomic(p, [=](V) { return (V)v; }); }
template <class V, class A, class B> V atomicCAS(V* p, A old, B v) {
    return shim::atomic(p, [=](V o) { return o == (V)old ? (V)v : o; });
}

// ------------------------------------------------------------------------------------------------ numbers
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b) {
    using C = std::common_type_t<A, B>;
    return (C)a > (C)b ? (C)a : (C)b;
}
template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b) {
    using C = std::common_type_t<A, B>;
    return (C)a < (C)b ? (C)a : (C)b;
}
static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
static inline double rsqrt(double x) { return 1. / sqrt(x); }
static inline float normcdf(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
static inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __fdividef(a, b) ((a) / (b))
namespace shim {
template <class To, class From> To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "");
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}
}  // namespace shim
static inline unsigned __float_as_uint(float x) { return shim::bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return shim::bits<float>(x); }
static inline int __float_as_int(float x) { return shim::bits<int>(x); }
static inline float __int_as_float(int x) { return shim::bits<float>(x); }
static inline long long __double_as_longlong(double x) { return shim::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return shim::bits<double>(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline int __float2int_rn(float x) { return (int)nearbyintf(x); }

// ------------------------------------------------------------------------------------------------ the way in
extern "C" const char* shim_launch(const Launch*);
namespace shim {
template <class... A, size_t... I> void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A>*)args[I]...);
}
template <class... A> void call(void (*kernel)(A...), void** args) {
    call(kernel, args, std::index_sequence_for<A...>{});
}
template <class... A> const int* sizes(void (*)(A...)) {  // bytes of each argument, then 0
    static const int found[] = {(int)sizeof(A)..., 0};
    return found;
}
template <class K> const char* enter(Launch* launch, K* kernel, void** args) {
    auto thread = [&] { call(kernel, args); };
    launch->body = [](void* body) { (*(decltype(thread)*)body)(); };
    launch->argument = &thread;
    launch->shared_begin = __start_shim_shared;
    launch->shared_end = __stop_shim_shared;
    return shim_launch(launch);
}
}  // namespace shim

#ifdef SHIM_ALSO  // headers that many kernels begin with: compiled once, with this one
#include SHIM_ALSO
#endif
