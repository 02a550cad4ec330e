#pragma once
/// What both twins of update_gate do once the losses are summed.

#include <cmath>

#include "kernels/adamw/adamw.h"
#include "src/base/platform.h"

namespace pivot {

PIVOT_HD inline void decide_update(double loss_sum, float norm_squared, const float* limits,
                                   float grad_clip, AdamWScalars* scalars, float* result) {
  const auto loss = static_cast<float>(loss_sum / static_cast<double>(limits[0]));
  const double root = std::sqrt(static_cast<double>(norm_squared)) / static_cast<double>(limits[0]);
  const auto norm = static_cast<float>(root);
  const float apply = std::isfinite(loss) && std::isfinite(norm) && loss <= limits[1] ? 1.0F : 0.0F;
  const bool clip = grad_clip > 0 && norm > grad_clip;
  const double factor = clip ? static_cast<double>(grad_clip) / root : 1.0;
  scalars->grad_scale = static_cast<float>(factor / static_cast<double>(limits[0]));
  scalars->apply = apply;
  result[0] = loss;
  result[1] = norm;
  result[2] = apply;
}

}  // namespace pivot
