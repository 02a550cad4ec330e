#pragma once
/// kernels/cuda/max_nan.cuh on the CPU.

namespace pivot::cuda {

inline float max_nan(float x, float y) {
  if (x != x) return x;
  if (y != y) return y;
  return x > y ? x : y;
}

}  // namespace pivot::cuda
