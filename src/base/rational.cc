#include "src/base/rational.h"

#include <charconv>
#include <numeric>

#include "src/base/check.h"

namespace pivot {
namespace {

constexpr int64_t kLimit = int64_t{1} << 31;

[[noreturn]] void bad_ratio(std::string_view text) {
  throw_user("'{}' is not a ratio: write it as 1%, 0.5%, 0.01 or 1/100", text);
}

Rational reduced(int64_t num, int64_t den, std::string_view text) {
  const int64_t divisor = std::gcd(num, den);
  num /= divisor;
  den /= divisor;
  if (num >= kLimit || den >= kLimit) bad_ratio(text);
  return {num, den};
}

int64_t parse_digits(std::string_view digits, std::string_view whole) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value < 0) bad_ratio(whole);
  return value;
}

// Decimal number without sign or exponent as an exact ratio: "0.125" = 125/1000.
Rational parse_decimal(std::string_view digits, std::string_view whole) {
  const size_t point = digits.find('.');
  if (point == std::string_view::npos) return {parse_digits(digits, whole), 1};
  const std::string_view fraction = digits.substr(point + 1);
  if (fraction.empty() || fraction.size() > 9) bad_ratio(whole);
  int64_t den = 1;
  for (size_t i = 0; i < fraction.size(); ++i) den *= 10;
  const int64_t integer = point == 0 ? 0 : parse_digits(digits.substr(0, point), whole);
  if (integer >= kLimit) bad_ratio(whole);
  return {integer * den + parse_digits(fraction, whole), den};
}

}  // namespace

Rational parse_rational(std::string_view text) {
  if (text.empty()) bad_ratio(text);
  if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
    const int64_t num = parse_digits(text.substr(0, slash), text);
    const int64_t den = parse_digits(text.substr(slash + 1), text);
    if (den == 0) bad_ratio(text);
    return reduced(num, den, text);
  }
  const bool percent = text.back() == '%';
  const Rational r = parse_decimal(percent ? text.substr(0, text.size() - 1) : text, text);
  return reduced(r.num, percent ? r.den * 100 : r.den, text);
}

std::string to_string(Rational r) {
  // The shortest decimal of the percentage, if the denominator divides a power of ten.
  int64_t scale = 1;
  for (int decimals = 0; decimals <= 6; ++decimals, scale *= 10) {
    if ((r.num * 100 * scale) % r.den != 0) continue;
    const int64_t value = r.num * 100 * scale / r.den;
    if (decimals == 0) return fmt::format("{}%", value);
    return fmt::format("{}.{:0{}}%", value / scale, value % scale, decimals);
  }
  return fmt::format("{}/{}", r.num, r.den);
}

}  // namespace pivot
