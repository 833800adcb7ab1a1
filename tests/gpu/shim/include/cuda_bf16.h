// A stand-in for CUDA's header where that is not installed: as much of it as our kernels use.
#pragma once
#include <cstdint>
#include <cstring>
struct __nv_bfloat16 { uint16_t bits; };
static inline float __bfloat162float(__nv_bfloat16 x) {
    uint32_t wide = (uint32_t)x.bits << 16;
    float y;
    memcpy(&y, &wide, 4);
    return y;
}
static inline __nv_bfloat16 __float2bfloat16_rn(float x) {  // to nearest, ties to even
    uint32_t wide;
    memcpy(&wide, &x, 4);
    if ((wide & 0x7FFFFFFF) > 0x7F800000) return {0x7FFF};
    return {(uint16_t)((wide + 0x7FFF + (wide >> 16 & 1)) >> 16)};
}
static inline __nv_bfloat16 __float2bfloat16(float x) { return __float2bfloat16_rn(x); }
