#pragma once
/// Emulated: see the header of the same name in kernels/cuda.

#include <cmath>
#include <cstdint>

#include "src/core/dtype.h"

namespace pivot::cuda {

inline uint16_t round_bf16(float x) {
  return std::isnan(x) ? uint16_t{0x7FFF} : to_bfloat16(x).bits;
}
inline uint32_t pack_bf16(float low, float high) {
  return round_bf16(low) | static_cast<uint32_t>(round_bf16(high)) << 16;
}

/// Denormal arguments and results are zero.
inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126F ? 0.0F : y;
}

}  // namespace pivot::cuda
