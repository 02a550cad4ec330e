#pragma once
/// Models in GGUF files, as llama.cpp and its converters write them.

#include <memory>
#include <string>

#include "checkpoints/model_source.h"

namespace pivot {

/// Architectures llama (also Mistral, TinyLlama, SmolLM2), qwen2 and qwen3, with tensors in F32,
/// F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K or Q6_K: see docs/formats/gguf.md. The header is read
/// and checked whole, weights are read as they are asked for. Throws UserError naming the file and
/// what Pivot cannot read or compute.
std::unique_ptr<ModelSource> open_gguf(const std::string& path);

}  // namespace pivot
