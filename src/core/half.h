#pragma once
/// IEEE 754 binary16 as it lies in files; arithmetic happens in float. Plain integer code that
/// compilers vectorise.

#include <bit>
#include <cstdint>

namespace pivot {

struct Float16 {
  uint16_t bits;
};

/// Exact.
constexpr float to_float(Float16 x) {
  const uint32_t magnitude = x.bits & 0x7FFFU;
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000U) << 16;
  // The fields of a half, moved to those of a float, make the value times 2^(15 - 127), also where
  // it is subnormal.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  const uint32_t finite = std::bit_cast<uint32_t>(scaled);
  const uint32_t special = (magnitude << 13) | 0x7F800000U;  // infinity, NaN with its payload
  return std::bit_cast<float>(sign | (magnitude < 0x7C00U ? finite : special));
}

/// Round to nearest, ties to even; what is beyond 65504 becomes infinite, NaN stays NaN.
constexpr Float16 to_float16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (u >> 16) & 0x8000U;
  const uint32_t magnitude = u & 0x7FFFFFFFU;
  // Below 2^-14 a half counts in 2^-24, which is what a float of [0.5, 1) counts in.
  const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) -
                        std::bit_cast<uint32_t>(0.5F);
  const uint32_t normal = (magnitude - (112U << 23) + 0xFFFU + ((magnitude >> 13) & 1U)) >> 13;
  uint32_t result = magnitude < 0x38800000U ? tiny : normal;
  if (magnitude >= 0x477FF000U) result = 0x7C00U;  // from 65520 on
  if (magnitude > 0x7F800000U) result = 0x7E00U;
  return {static_cast<uint16_t>(sign | result)};
}

}  // namespace pivot
