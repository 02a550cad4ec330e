#pragma once
/// Rotary settings in config.json: rope_theta and rope_scaling (transformers 4), or rope_parameters
/// (5).

#include "checkpoints/hf/json.h"
#include "src/model/config.h"

namespace pivot {

/// Sets rope_theta and rope_scaling of `model`, whose context is known. Throws UserError naming a
/// type or key that Pivot does not know.
void read_hf_rope(const JsonReader& config, ModelConfig& model);

/// The value of rope_scaling: null without scaling.
Json print_hf_rope_scaling(const RopeScaling& scaling);

}  // namespace pivot
