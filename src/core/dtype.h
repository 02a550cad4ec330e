#pragma once
/// Element types of tensors.

#include <bit>
#include <cstddef>
#include <cstdint>

#include "src/base/platform.h"

namespace pivot {

/// Stored in files: never renumber.
enum class DType : uint8_t { F32 = 0, BF16 = 1, I32 = 2, I64 = 3, U8 = 4 };

constexpr size_t dtype_bytes(DType t) {
  switch (t) {
    case DType::F32:
    case DType::I32:
      return 4;
    case DType::BF16:
      return 2;
    case DType::I64:
      return 8;
    case DType::U8:
      return 1;
  }
  return 0;
}

constexpr const char* dtype_name(DType t) {
  constexpr const char* kNames[] = {"F32", "BF16", "I32", "I64", "U8"};
  return kNames[static_cast<int>(t)];
}

/// Storage type; arithmetic happens in float.
struct BFloat16 {
  uint16_t bits;
};

PIVOT_HD constexpr float to_float(BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

/// Round to nearest, ties to even; NaN stays NaN.
PIVOT_HD constexpr BFloat16 to_bfloat16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<uint16_t>((u >> 16) | 0x40U)};
  return {static_cast<uint16_t>((u + 0x7FFFU + ((u >> 16) & 1U)) >> 16)};
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType kValue = DType::F32;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType kValue = DType::BF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType kValue = DType::I32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType kValue = DType::I64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType kValue = DType::U8;
};

}  // namespace pivot
