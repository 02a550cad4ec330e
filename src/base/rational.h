#pragma once
/// Exact ratios, so that "1 %" of n keys is the same integer on every device.

#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/platform.h"

namespace pivot {

/// num / den in lowest terms, den >= 1, both below 2^31.
struct Rational {
  int64_t num = 0;
  int64_t den = 1;

  friend bool operator==(const Rational&, const Rational&) = default;
  double value() const { return static_cast<double>(num) / static_cast<double>(den); }
};

/// ceil(r * n) in integers; n >= 0, r.num * n below 2^63.
PIVOT_HD constexpr int64_t ceil_mul(Rational r, int64_t n) {
  return (r.num * n + r.den - 1) / r.den;
}

/// "1%", "0.5%", "0.01" or "1/100". Throws UserError on anything else or on a negative value.
Rational parse_rational(std::string_view text);

/// Percent notation if exact in at most 6 decimals ("1%", "0.05%"), else "a/b". Parses back equal.
std::string to_string(Rational r);

}  // namespace pivot
