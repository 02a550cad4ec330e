#pragma once
/// Models in Hugging Face directories: config.json, safetensors, tokenizer files.

#include <memory>
#include <string>

#include "checkpoints/model_source.h"

namespace pivot {

/// A directory with a config.json.
bool is_hf_directory(const std::string& path);

/// Families llama, mistral, qwen2 and qwen3, with tensors in F32, F16 or BF16, in one file or
/// sharded: see docs/models.md. Configuration, index, headers and tokenizer are read and checked,
/// weights are read as they are asked for. Throws UserError naming file and key or tensor.
std::unique_ptr<ModelSource> open_hf(const std::string& directory);

}  // namespace pivot
