#pragma once
/// A model in a few lines, for people.

#include <string>

#include "checkpoints/checkpoint.h"

namespace pivot {

/// Sizes, RoPE, attention, tokenizer and number of parameters, a line each.
std::string describe_model(const CheckpointInfo& info);

}  // namespace pivot
