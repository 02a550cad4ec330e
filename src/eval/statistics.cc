#include "src/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/base/check.h"

namespace pivot::eval {

Estimate clustered_mean(std::span<const Cluster> clusters) {
  Estimate out;
  double sum = 0;
  int64_t used = 0;
  for (const Cluster& c : clusters) {
    sum += c.sum;
    out.n += c.n;
    used += c.n > 0;
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (out.n == 0) return {nan, nan, 0};
  const auto n = static_cast<double>(out.n);
  out.value = sum / n;
  if (used < 2) {
    out.stderr_value = nan;
    return out;
  }
  double squares = 0;
  for (const Cluster& c : clusters) {
    const double rest = c.sum - out.value * static_cast<double>(c.n);
    squares += rest * rest;
  }
  const auto d = static_cast<double>(used);
  out.stderr_value = std::sqrt(d / (d - 1) * squares) / n;
  return out;
}

Estimate paired_difference(std::span<const Cluster> a, std::span<const Cluster> b) {
  PIVOT_CHECK(a.size() == b.size(), "{} and {} clusters", a.size(), b.size());
  std::vector<Cluster> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    PIVOT_CHECK(a[i].n == b[i].n, "cluster {}: {} and {} units", i, a[i].n, b[i].n);
    difference[i] = {b[i].sum - a[i].sum, a[i].n};
  }
  return clustered_mean(difference);
}

Interval wilson(double share, int64_t n) {
  if (n == 0) return {};
  constexpr double kZ = 1.959963984540054;  // 97.5 % quantile of the normal distribution
  const auto count = static_cast<double>(n);
  const double scale = 1 + kZ * kZ / count;
  const double middle = share + kZ * kZ / (2 * count);
  const double half = kZ * std::sqrt(share * (1 - share) / count + kZ * kZ / (4 * count * count));
  return {std::max(0.0, (middle - half) / scale), std::min(1.0, (middle + half) / scale)};
}

double mcnemar(int64_t only_a, int64_t only_b) {
  const int64_t n = only_a + only_b;
  if (n == 0) return 1;
  const int64_t fewer = std::min(only_a, only_b);
  double tail = 0;  // P(X <= fewer), X binomial(n, 1/2)
  for (int64_t k = 0; k <= fewer; ++k) {
    tail += std::exp(
        std::lgamma(static_cast<double>(n + 1)) - std::lgamma(static_cast<double>(k + 1)) -
        std::lgamma(static_cast<double>(n - k + 1)) - static_cast<double>(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace pivot::eval
