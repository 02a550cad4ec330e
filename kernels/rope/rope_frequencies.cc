#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "kernels/rope/rope.h"

namespace pivot {
namespace {

/// Llama 3: wavelengths well inside the original context stay, those beyond it are stretched by
/// `factor`, and in between the two are blended.
double llama3_frequency(double frequency, const RopeScaling& s) {
  const auto context = static_cast<double>(s.original_context);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < context / s.high_freq_factor) return frequency;
  if (wavelength > context / s.low_freq_factor) return frequency / s.factor;
  const double blend =
      (context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - blend) * frequency / s.factor + blend * frequency;
}

/// YaRN: channels that turn more than beta_fast times within the original context stay, those below
/// beta_slow turns are stretched by `factor`, and in between the two are blended along a ramp.
class YarnRamp {
 public:
  YarnRamp(int head_dim, double theta, const RopeScaling& s) {
    const auto channel = [&](double turns) {
      return head_dim *
             std::log(static_cast<double>(s.original_context) / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(theta));
    };
    low_ = channel(s.beta_fast);
    high_ = channel(s.beta_slow);
    if (s.truncate) {
      low_ = std::floor(low_);
      high_ = std::ceil(high_);
    }
    low_ = std::max(low_, 0.0);
    high_ = std::min(high_, head_dim - 1.0);
    if (low_ == high_) high_ += 0.001;  // a step, as the reference implementation makes it
  }
  double frequency(int channel, double frequency, double factor) const {
    const double stretched = std::clamp((channel - low_) / (high_ - low_), 0.0, 1.0);
    return frequency / factor * stretched + frequency * (1 - stretched);
  }

 private:
  double low_ = 0, high_ = 0;
};

void check_llama3(const RopeScaling& s) {
  if (s.low_freq_factor > 0 && s.high_freq_factor > s.low_freq_factor && s.original_context > 0) {
    return;
  }
  throw_user(
      "rope_scaling: llama3 needs 0 < low_freq_factor ({}) < high_freq_factor ({}) and "
      "original_context ({}) above 0",
      s.low_freq_factor, s.high_freq_factor, s.original_context);
}

void check_yarn(const RopeScaling& s) {
  if (!(s.beta_slow > 0 && s.beta_fast >= s.beta_slow && s.original_context > 0)) {
    throw_user(
        "rope_scaling: yarn needs 0 < beta_slow ({}) <= beta_fast ({}) and original_context ({}) "
        "above 0",
        s.beta_slow, s.beta_fast, s.original_context);
  }
  if (!(s.mscale >= 0 && s.mscale_all_dim >= 0 && std::isfinite(s.attention_factor) &&
        s.attention_factor >= 0)) {
    throw_user(
        "rope_scaling: yarn's attention_factor ({}), mscale ({}) and mscale_all_dim ({}) must not "
        "be negative",
        s.attention_factor, s.mscale, s.mscale_all_dim);
  }
}

}  // namespace

double rope_attention_factor(const RopeScaling& s) {
  if (s.type != "yarn") return 1;
  if (s.attention_factor > 0) return s.attention_factor;
  const auto scale = [&](double weight) {
    return s.factor <= 1 ? 1.0 : 0.1 * weight * std::log(s.factor) + 1.0;
  };
  if (s.mscale > 0 && s.mscale_all_dim > 0) return scale(s.mscale) / scale(s.mscale_all_dim);
  return scale(1);
}

std::vector<float> rope_frequencies(int head_dim, double theta, const RopeScaling& scaling) {
  PIVOT_CHECK(head_dim >= 2 && head_dim % 2 == 0, "head_dim {} is not even", head_dim);
  const bool linear = scaling.type == "linear";
  const bool llama3 = scaling.type == "llama3";
  const bool yarn = scaling.type == "yarn";
  if (!linear && !llama3 && !yarn && scaling.type != "none") {
    throw_user("rope_scaling.type '{}' is not known: use none, linear, llama3 or yarn",
               scaling.type);
  }
  if (scaling.type != "none" && !(scaling.factor > 0 && std::isfinite(scaling.factor))) {
    throw_user("rope_scaling.factor is {}, must be above 0", scaling.factor);
  }
  if (llama3) check_llama3(scaling);
  if (yarn) check_yarn(scaling);
  std::optional<YarnRamp> ramp;
  if (yarn) ramp.emplace(head_dim, theta, scaling);
  std::vector<float> frequencies;
  for (int i = 0; i < head_dim / 2; ++i) {
    double frequency = std::pow(theta, -2.0 * i / head_dim);
    if (linear) frequency /= scaling.factor;
    if (llama3) frequency = llama3_frequency(frequency, scaling);
    if (yarn) frequency = ramp->frequency(i, frequency, scaling.factor);
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

}  // namespace pivot
