#pragma once
/// The part of the CUDA runtime that the project's headers use, for emulated kernels: vector types,
/// and a runtime with one device (tests/simt/runtime.cc).

#include <cstddef>
#include <cstdint>

#include "tests/simt/engine.h"

// Vector types -------------------------------------------------------------------------------

#define PIVOT_SIMT_VECTOR(scalar, name, align2, align4)                      \
  struct name##1 {                                                           \
    scalar x;                                                                \
  };                                                                         \
  struct alignas(align2) name##2 {                                           \
    scalar x, y;                                                             \
  };                                                                         \
  struct name##3 {                                                           \
    scalar x, y, z;                                                          \
  };                                                                         \
  struct alignas(align4) name##4 {                                           \
    scalar x, y, z, w;                                                       \
  };                                                                         \
  constexpr name##1 make_##name##1(scalar x) {                               \
    return {x};                                                              \
  }                                                                          \
  constexpr name##2 make_##name##2(scalar x, scalar y) {                     \
    return {x, y};                                                           \
  }                                                                          \
  constexpr name##3 make_##name##3(scalar x, scalar y, scalar z) {           \
    return {x, y, z};                                                        \
  }                                                                          \
  constexpr name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { \
    return {x, y, z, w};                                                     \
  }

PIVOT_SIMT_VECTOR(int, int, 8, 16)
PIVOT_SIMT_VECTOR(unsigned, uint, 8, 16)
PIVOT_SIMT_VECTOR(float, float, 8, 16)
PIVOT_SIMT_VECTOR(short, short, 4, 8)
PIVOT_SIMT_VECTOR(unsigned short, ushort, 4, 8)
PIVOT_SIMT_VECTOR(signed char, char, 2, 4)
PIVOT_SIMT_VECTOR(unsigned char, uchar, 2, 4)
PIVOT_SIMT_VECTOR(long long, longlong, 16, 16)
PIVOT_SIMT_VECTOR(unsigned long long, ulonglong, 16, 16)
PIVOT_SIMT_VECTOR(double, double, 16, 16)
#undef PIVOT_SIMT_VECTOR

struct dim3 {
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};

// Runtime ------------------------------------------------------------------------------------

using cudaStream_t = struct CUstream_st*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaMemsetAsync(void* at, int byte, size_t bytes, cudaStream_t stream);
