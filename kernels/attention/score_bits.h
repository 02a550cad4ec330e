#pragma once
/// What the tensor cores of sm_90 compute, bit for bit, in integers: mma.sync and wgmma with
/// bfloat16 operands and float accumulators, operands in either role. A step takes 16 products and
/// the accumulator, aligns all 17 to the largest exponent among them, cuts each after 25 fractional
/// bits, and rounds the sum toward zero. Measured: equal in every case but for the payload of NaNs
/// and the last bits of sums below about 2^-120.

#include <bit>
#include <cstdint>

#include "src/core/dtype.h"

namespace pivot {
namespace score_bits {

inline constexpr int kStep = 16;          // products of one step
inline constexpr int kFractionBits = 25;  // kept below the largest exponent

/// |x| = significand 2^(exponent - 7); zero and denormals have the smallest exponent.
PIVOT_HD constexpr int exponent(BFloat16 x) {
  const int field = x.bits >> 7 & 0xFF;
  return (field > 0 ? field : 1) - 127;
}
PIVOT_HD constexpr uint32_t significand(BFloat16 x) {
  return (x.bits & 0x7FU) | ((x.bits & 0x7F80U) != 0 ? 0x80U : 0U);
}
/// `magnitude` (below 2^31) moved `shift` bits down and cut, with a sign.
PIVOT_HD constexpr int32_t aligned(uint32_t magnitude, int shift, bool negative) {
  const auto kept = static_cast<int32_t>(magnitude >> (shift < 31 ? shift : 31));
  return negative ? -kept : kept;
}

/// sum 2^unit rounded toward zero; |sum| < 2^53.
PIVOT_HD constexpr float toward_zero(int64_t sum, int unit) {
  if (sum == 0) return 0.0F;
  const auto exact = std::bit_cast<uint64_t>(static_cast<double>(sum));
  const uint32_t sign = static_cast<uint32_t>(exact >> 32) & 0x80000000U;
  const int exponent = static_cast<int>(exact >> 52 & 0x7FFU) - 1023 + unit;
  const uint32_t fraction = static_cast<uint32_t>(exact >> 29) & 0x7FFFFFU;
  if (exponent > 127) return std::bit_cast<float>(sign | 0x7F800000U);
  if (exponent >= -126) {
    return std::bit_cast<float>(sign | static_cast<uint32_t>(exponent + 127) << 23 | fraction);
  }
  const int shift = -126 - exponent;
  return std::bit_cast<float>(sign | (shift < 32 ? (fraction | 0x800000U) >> shift : 0U));
}

}  // namespace score_bits

/// c + sum_i a[i] * b[i] over 16 products, as one step of the tensor cores.
PIVOT_HD inline float mma_step(const BFloat16* a, const BFloat16* b, float c) {
  using namespace score_bits;
  const auto c_bits = std::bit_cast<uint32_t>(c);
  const int c_field = static_cast<int>(c_bits >> 23 & 0xFFU);
  const int c_exponent = (c_field > 0 ? c_field : 1) - 127;
  int top = c_exponent;
  int highest = c_exponent;  // of any operand; 128 is that of infinities and NaN
  for (int i = 0; i < kStep; ++i) {
    const int ea = exponent(a[i]);
    const int eb = exponent(b[i]);
    top = ea + eb > top ? ea + eb : top;
    highest = ea > highest ? ea : highest;
    highest = eb > highest ? eb : highest;
  }
  if (highest == 128) {  // infinities and NaN; no product of finite values overflows in double
    double sum = c;
    for (int i = 0; i < kStep; ++i) sum += double{to_float(a[i])} * double{to_float(b[i])};
    return static_cast<float>(sum);
  }
  // A product has 14 fractional bits and the accumulator 23; all are raised to kFractionBits. 16
  // products are below 16 (255 / 128)^2 2^25 < 2^31 together.
  int32_t products = 0;
  for (int i = 0; i < kStep; ++i) {
    products +=
        aligned(significand(a[i]) * significand(b[i]) << (kFractionBits - 14),
                top - exponent(a[i]) - exponent(b[i]), ((a[i].bits ^ b[i].bits) & 0x8000) != 0);
  }
  const uint32_t c_significand = (c_bits & 0x7FFFFFU) | (c_field > 0 ? 0x800000U : 0U);
  const int32_t accumulator =
      aligned(c_significand << (kFractionBits - 23), top - c_exponent, c_bits >> 31 != 0);
  return toward_zero(int64_t{products} + accumulator, top - kFractionBits);
}

/// The score a . b of two rows: ascending steps of 16 channels into one accumulator that starts at
/// zero (docs/semantics.md). `width` is a multiple of 16.
PIVOT_HD inline float mma_dot(const BFloat16* a, const BFloat16* b, int width) {
  float sum = 0;
  for (int d = 0; d < width; d += score_bits::kStep) sum = mma_step(a + d, b + d, sum);
  return sum;
}

}  // namespace pivot
