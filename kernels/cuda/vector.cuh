#pragma once
/// 16-byte loads and stores of float and bfloat16 rows; arithmetic happens in float.

#include <cstdint>

#include "kernels/cuda/convert.cuh"
#include "src/core/dtype.h"

namespace pivot::cuda {

template <class T>
inline constexpr int kLanes = 16 / static_cast<int>(sizeof(T));  // elements of one access

__device__ __forceinline__ float as_float(float x) {
  return x;
}
__device__ __forceinline__ float as_float(BFloat16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
/// Round to nearest, ties to even, as to_bfloat16.
template <>
__device__ __forceinline__ BFloat16 from_float<BFloat16>(float x) {
  return {round_bf16(x)};
}

/// One 16-byte access as floats.
template <class T>
struct Pack {
  float value[kLanes<T>];
};

template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T* at) {
  const uint4 raw = *reinterpret_cast<const uint4*>(at);
  const uint32_t word[4] = {raw.x, raw.y, raw.z, raw.w};
  Pack<T> pack;
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) pack.value[i] = __uint_as_float(word[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pack.value[2 * i] = __uint_as_float(word[i] << 16);
      pack.value[2 * i + 1] = __uint_as_float(word[i] & 0xFFFF0000U);
    }
  }
  return pack;
}

template <class T>
__device__ __forceinline__ void store_pack(T* at, const Pack<T>& pack) {
  uint32_t word[4];
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) word[i] = __float_as_uint(pack.value[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) word[i] = pack_bf16(pack.value[2 * i], pack.value[2 * i + 1]);
  }
  *reinterpret_cast<uint4*>(at) = make_uint4(word[0], word[1], word[2], word[3]);
}

/// True if rows of `width` elements can be read 16 bytes at a time.
template <class T>
constexpr bool packs(int64_t width) {
  return width % kLanes<T> == 0;
}

}  // namespace pivot::cuda
