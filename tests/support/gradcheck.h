#pragma once
/// Gradients of a reference against central differences of a reference, in fp64.

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "src/base/philox.h"

namespace pivot::test {

struct GradientCheck {
  bool ok = true;
  std::string message;
};

/// `loss(x)` is a smooth function, `gradient` its claimed gradient at x. Up to `samples`
/// coordinates are tested. The five-point formula with a step of 1e-5 max(1, |x_i|) has truncation
/// below 1e-9 where the function bends on a scale of 1e-3 or more, and rounding near 1e-10 |loss|;
/// allowed is 1e-7 of the largest gradient or 1e-9 |loss|, which any wrong term exceeds.
inline GradientCheck check_gradient(const std::string& name, std::vector<double> x,
                                    const std::vector<double>& gradient,
                                    const std::function<double(const std::vector<double>&)>& loss,
                                    size_t samples = 48) {
  double scale = 1e-2 * std::abs(loss(x));
  for (const double g : gradient) scale = std::max(scale, std::abs(g));
  const Philox random(3, Stream::Test);
  GradientCheck result;
  double worst = -1;
  for (size_t s = 0; s < std::min(samples, x.size()); ++s) {
    const size_t i = x.size() <= samples ? s : random.below(x.size(), s);
    const double at = x[i];
    const double step = 1e-5 * std::max(1.0, std::abs(at));
    const auto at_offset = [&](double steps) {
      x[i] = at + steps * step;
      const double value = loss(x);
      x[i] = at;
      return value;
    };
    const double difference =
        (8 * (at_offset(1) - at_offset(-1)) - at_offset(2) + at_offset(-2)) / (12 * step);
    const double error = std::abs(difference - gradient[i]);
    if (!(error <= worst)) {
      worst = error;
      result.message = fmt::format("d{}[{}]: {:.12g}, central difference {:.12g}, scale {:.3g}",
                                   name, i, gradient[i], difference, scale);
    }
    if (!(error <= 1e-7 * scale)) result.ok = false;
  }
  return result;
}

}  // namespace pivot::test
