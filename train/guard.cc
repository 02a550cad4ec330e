#include "train/guard.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/core.h>

namespace pivot {
namespace {

double value_of(const std::map<std::string, double>& values, const char* key) {
  const auto it = values.find(key);
  return it == values.end() ? 0 : it->second;
}

}  // namespace

double StepGuard::limit() const {
  if (options_.spike_sigma <= 0 || seen_ < kMinHistory) {
    return std::numeric_limits<double>::infinity();
  }
  return mean_ + options_.spike_sigma * sigma();
}

double StepGuard::sigma() const {
  return std::max(std::sqrt(variance_), kMinSigma * std::abs(mean_));
}

std::string StepGuard::account(double loss, double grad_norm, bool applied) {
  if (!std::isfinite(loss) || !std::isfinite(grad_norm)) {
    ++skipped_in_row_;
    stop_ = options_.stop_on_nan || skipped_in_row_ >= kMaxSkipped;
    return std::isfinite(loss) ? "the gradient is not finite" : "the loss is not finite";
  }
  if (!applied) {
    const std::string reason =
        fmt::format("loss {:.4g} is {:.1f} sigma above its average of {:.4g}", loss,
                    (loss - mean_) / sigma(), mean_);
    learn(limit());
    ++skipped_in_row_;
    stop_ = skipped_in_row_ >= kMaxSkipped;
    return reason;
  }
  learn(loss);
  skipped_in_row_ = 0;
  return {};
}

void StepGuard::learn(double loss) {
  // The first losses weigh equally, so that the average does not start at zero.
  const double weight = std::max(1 - kDecay, 1.0 / static_cast<double>(seen_ + 1));
  const double delta = loss - mean_;
  mean_ += weight * delta;
  variance_ = (1 - weight) * (variance_ + weight * delta * delta);
  ++seen_;
}

void StepGuard::restart_history() {
  mean_ = variance_ = 0;
  seen_ = 0;
}

void StepGuard::forgive() {
  skipped_in_row_ = 0;
  stop_ = false;
}

void StepGuard::save(std::map<std::string, double>& values) const {
  values["guard_mean"] = mean_;
  values["guard_variance"] = variance_;
  values["guard_seen"] = static_cast<double>(seen_);
  values["guard_skipped_in_row"] = static_cast<double>(skipped_in_row_);
}

void StepGuard::restore(const std::map<std::string, double>& values) {
  mean_ = value_of(values, "guard_mean");
  variance_ = value_of(values, "guard_variance");
  seen_ = static_cast<int64_t>(value_of(values, "guard_seen"));
  skipped_in_row_ = static_cast<int64_t>(value_of(values, "guard_skipped_in_row"));
}

}  // namespace pivot
