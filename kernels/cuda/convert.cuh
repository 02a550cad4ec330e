#pragma once
/// Rounding to bfloat16 and the fast exponential (PTX ISA, 9.7).

#include <cstdint>

namespace pivot::cuda {

/// Round to nearest, ties to even; the bits of a bfloat16.
__device__ __forceinline__ uint16_t round_bf16(float x) {
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

/// Two floats rounded to bf16, `low` in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/// 2^x, about 2 ulp.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace pivot::cuda
