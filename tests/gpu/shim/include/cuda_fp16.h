// A stand-in for CUDA's header where that is not installed: as much of it as our kernels use.
#pragma once
struct __half { _Float16 value; };
static inline float __half2float(__half x) { return (float)x.value; }
static inline __half __float2half(float x) { return {(_Float16)x}; }
static inline __half __float2half_rn(float x) { return {(_Float16)x}; }
