#include <cmath>
#include <numbers>

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

}  // namespace

std::vector<float> rope_frequencies(int head_dim, double theta, const RopeScaling& scaling) {
  PIVOT_CHECK(head_dim >= 2 && head_dim % 2 == 0, "head_dim {} is not even", head_dim);
  const bool linear = scaling.type == "linear";
  const bool llama3 = scaling.type == "llama3";
  if (!linear && !llama3 && scaling.type != "none") {
    throw_user("rope_scaling.type '{}' is not known: use none, linear or llama3", scaling.type);
  }
  if ((linear || llama3) && !(scaling.factor > 0)) {
    throw_user("rope_scaling.factor is {}, must be above 0", scaling.factor);
  }
  if (llama3 &&
      !(scaling.low_freq_factor > 0 && scaling.high_freq_factor > scaling.low_freq_factor &&
        scaling.original_context > 0)) {
    throw_user(
        "rope_scaling: llama3 needs 0 < low_freq_factor ({}) < high_freq_factor ({}) and "
        "original_context ({}) above 0",
        scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_context);
  }
  std::vector<float> frequencies;
  for (int i = 0; i < head_dim / 2; ++i) {
    double frequency = std::pow(theta, -2.0 * i / head_dim);
    if (linear) frequency /= scaling.factor;
    if (llama3) frequency = llama3_frequency(frequency, scaling);
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

}  // namespace pivot
