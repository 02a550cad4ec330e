#pragma once
/// A maximum that does not lose NaN (PTX ISA, 9.7.3, max.NaN; sm_80 and later).

namespace pivot::cuda {

/// The larger; NaN if one of them is NaN.
__device__ __forceinline__ float max_nan(float x, float y) {
  float larger;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(x), "f"(y));
  return larger;
}

}  // namespace pivot::cuda
