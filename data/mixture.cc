#include "data/mixture.h"

#include <algorithm>
#include <numeric>

#include "src/base/check.h"
#include "src/base/philox.h"
#include "src/base/rational.h"

namespace pivot {
namespace {

constexpr int64_t kMaxPeriod = 1 << 16;

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.%/") == std::string::npos;
}

/// Weights as whole numbers in lowest terms: rows of each source per period.
std::vector<int64_t> rows_per_period(const std::vector<WeightedSource>& sources) {
  int64_t common = 1;
  for (const WeightedSource& s : sources) {
    common = std::lcm(common, s.denominator);
    if (common > kMaxPeriod * kMaxPeriod) break;
  }
  int64_t divisor = 0;
  std::vector<int64_t> counts;
  for (const WeightedSource& s : sources) {
    const auto scaled = static_cast<__int128>(s.numerator) * common / s.denominator;
    counts.push_back(static_cast<int64_t>(std::min<__int128>(scaled, int64_t{1} << 50)));
    divisor = std::gcd(divisor, counts.back());
  }
  int64_t period = 0;
  for (int64_t& c : counts) period += c /= divisor;
  if (period > kMaxPeriod) {
    throw_user(
        "the weights of the {} sources need a period of more than {} rows: round them to fewer "
        "digits",
        sources.size(), kMaxPeriod);
  }
  return counts;
}

}  // namespace

WeightedSource parse_weighted_source(const std::string& text) {
  const size_t at = text.rfind('@');
  if (at == std::string::npos) return {text, 1, 1};
  const std::string weight = text.substr(at + 1);
  if (!is_number(weight)) {
    throw_user("'{}': the weight after @ is not a number; write path@0.3 or path@30%", text);
  }
  const Rational value = parse_rational(weight);
  if (value.num <= 0) throw_user("'{}': the weight must be positive", text);
  return {text.substr(0, at), value.num, value.den};
}

Mixture::Mixture(const std::vector<WeightedSource>& sources, uint64_t seed) {
  PIVOT_CHECK(!sources.empty(), "a mixture of nothing");
  const std::vector<int64_t> counts = rows_per_period(sources);
  const int64_t period = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  std::vector<int64_t> credit(counts.size(), 0);
  places_.resize(counts.size());
  for (int64_t p = 0; p < period; ++p) {
    for (size_t s = 0; s < counts.size(); ++s) credit[s] += counts[s];
    const auto best = std::max_element(credit.begin(), credit.end());
    *best -= period;
    const auto source = static_cast<size_t>(best - credit.begin());
    order_.push_back(static_cast<int32_t>(source));
    before_.push_back(static_cast<int32_t>(places_[source].size()));
    places_[source].push_back(static_cast<int32_t>(p));
  }
  shift_ = static_cast<int64_t>(
      Philox(seed, Stream::DataOrder, 0xFFFFFFFFU).below(static_cast<uint64_t>(period), 0));
}

/// Rows of `source` among the first `rows` of the unshifted sequence.
int64_t Mixture::occurrences(int64_t source, int64_t rows) const {
  const auto& places = places_[static_cast<size_t>(source)];
  const int64_t whole = rows / period();
  const auto end = std::lower_bound(places.begin(), places.end(), rows % period());
  return whole * static_cast<int64_t>(places.size()) + (end - places.begin());
}

Mixture::Row Mixture::at(int64_t row) const {
  const int64_t shifted = row + shift_;
  const int64_t source = order_[static_cast<size_t>(shifted % period())];
  return {source, occurrences(source, shifted) - occurrences(source, shift_)};
}

}  // namespace pivot
