#pragma once
/// Sums and maxima over a warp or a block, in a fixed order: the same bits every time.

#include <cstdint>

namespace pivot::cuda {

inline constexpr int kWarp = 32;
inline constexpr uint32_t kAllLanes = 0xFFFFFFFFU;

/// Every lane gets the sum.
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  }
  return x;
}

/// Every thread gets the sum over a block of `Threads`, a multiple of 32. `space` holds
/// Threads / 32 values and may be used again after the next __syncthreads().
template <int Threads, class T>
__device__ __forceinline__ T block_sum(T x, T* space) {
  x = warp_sum(x);
  if (threadIdx.x % kWarp == 0) space[threadIdx.x / kWarp] = x;
  __syncthreads();
  T total = 0;
#pragma unroll
  for (int w = 0; w < Threads / kWarp; ++w) total += space[w];
  return total;
}
template <int Threads>
__device__ __forceinline__ float block_max(float x, float* space) {
  x = warp_max(x);
  if (threadIdx.x % kWarp == 0) space[threadIdx.x / kWarp] = x;
  __syncthreads();
  float top = space[0];
#pragma unroll
  for (int w = 1; w < Threads / kWarp; ++w) top = fmaxf(top, space[w]);
  return top;
}

}  // namespace pivot::cuda
