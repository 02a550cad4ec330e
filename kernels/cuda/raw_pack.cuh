#pragma once
/// Packs kept in registers as they are stored: half the registers of their floats for bf16.

#include "kernels/cuda/vector.cuh"

namespace pivot::cuda {

template <class T>
__device__ __forceinline__ uint4 load_raw(const T* at) {
  return *reinterpret_cast<const uint4*>(at);
}
template <class T>
__device__ __forceinline__ void store_raw(T* at, const uint4& raw) {
  *reinterpret_cast<uint4*>(at) = raw;
}
template <class T>
__device__ __forceinline__ Pack<T> unpack(const uint4& raw) {
  return load_pack(reinterpret_cast<const T*>(&raw));
}

}  // namespace pivot::cuda
