#pragma once
/// Elementary functions without branches or calls, so that loops over them become vector code
/// (put `#pragma omp simd` before the loop). Tested against <cmath> in
/// tests/kernels/vec_math_test.cc.

#include <bit>
#include <cstdint>

#include "src/base/platform.h"

namespace pivot {

/// e^x, at most 2 ulp from the exact value; exp(-inf) = 0, exp(inf) = inf, NaN stays NaN, results
/// below the normal range are rounded to subnormals.
inline float vec_exp(float x) {
  constexpr float kLog2E = 0x1.715476p+0F;
  constexpr float kLn2High = 0x1.62ep-1F;  // 11 bits: n * kLn2High is exact
  constexpr float kLn2Low = 0x1.0bfbe8p-15F;
  constexpr float kRound = 0x1.8p23F;  // adding it leaves the nearest integer in the low bits
  // Beyond these e^x is infinite or rounds to zero. A NaN passes both comparisons unchanged.
  x = x > 89.0F ? 89.0F : x;
  x = x < -104.0F ? -104.0F : x;
  const float shifted = x * kLog2E + kRound;
  const int32_t n = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float whole = shifted - kRound;
  const float r = (x - whole * kLn2High) - whole * kLn2Low;
  // Minimax for (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2: relative error of e^r 1e-10.
  float p = 0x1.9dfbbep-13F;
  p = p * r + 0x1.6d4cbep-10F;
  p = p * r + 0x1.11130ep-7F;
  p = p * r + 0x1.5554e8p-5F;
  p = p * r + 0x1.555554p-3F;
  p = p * r + 0.5F;
  p = (p * r) * r + r;
  p = p + 1.0F;
  // 2^n in two steps: 2^128 and 2^-150 are not floats.
  const int32_t half = n >> 1;
  const float scale1 = std::bit_cast<float>((half + 127) << 23);
  const float scale2 = std::bit_cast<float>((n - half + 127) << 23);
  return p * scale1 * scale2;
}

struct SinCos {
  double sin;
  double cos;
};

/// Sine and cosine to about 1e-16 for |x| <= 2^20; rounded to float they are the correctly rounded
/// values but for about one in 10^8.
PIVOT_HD inline SinCos vec_sincos(double x) {
  constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
  // pi / 2 in pieces of 33 bits: n * piece is exact.
  constexpr double kHalfPi1 = 0x1.921fb544p+0;
  constexpr double kHalfPi2 = 0x1.0b4611a6p-34;
  constexpr double kHalfPi3 = 0x1.3198a2e037073p-69;
  constexpr double kRound = 0x1.8p52;
  const double shifted = x * kTwoOverPi + kRound;
  const int64_t quadrant = std::bit_cast<int64_t>(shifted);
  const double n = shifted - kRound;
  const double r = ((x - n * kHalfPi1) - n * kHalfPi2) - n * kHalfPi3;
  const double r2 = r * r;
  // Taylor series: on |r| <= pi / 4 the first omitted term is below 2^-53.
  double s = 1.0 / 355687428096000;
  s = s * r2 - 1.0 / 1307674368000;
  s = s * r2 + 1.0 / 6227020800;
  s = s * r2 - 1.0 / 39916800;
  s = s * r2 + 1.0 / 362880;
  s = s * r2 - 1.0 / 5040;
  s = s * r2 + 1.0 / 120;
  s = s * r2 - 1.0 / 6;
  const double sine = s * r2 * r + r;
  double c = 1.0 / 20922789888000;
  c = c * r2 - 1.0 / 87178291200;
  c = c * r2 + 1.0 / 479001600;
  c = c * r2 - 1.0 / 3628800;
  c = c * r2 + 1.0 / 40320;
  c = c * r2 - 1.0 / 720;
  c = c * r2 + 1.0 / 24;
  c = c * r2 - 0.5;
  const double cosine = c * r2 + 1.0;
  const bool swap = (quadrant & 1) != 0;
  const double a = swap ? cosine : sine;
  const double b = swap ? sine : cosine;
  return {(quadrant & 2) != 0 ? -a : a, ((quadrant + 1) & 2) != 0 ? -b : b};
}

}  // namespace pivot
