#pragma once
/// Pivot models as GGUF files for llama.cpp and what is built on it.

#include <string>

#include "checkpoints/model_source.h"

namespace pivot {

/// How matrices are stored; vectors (norms, biases) are F32.
enum class GgufFormat { F32, F16, BF16, Q8_0 };

/// From "f32", "f16", "bf16" or "q8_0". Throws UserError for anything else.
GgufFormat parse_gguf_format(const std::string& name);

/// Writes PATH whole or not at all, a few MiB at a time. Architecture llama, qwen2 (bias on QKV) or
/// qwen3 (QK-norm); tokenizer and chat template included; attention and the run's configuration in
/// pivot.* keys, which open_gguf reads. Throws UserError for what GGUF cannot say (a tokenizer or
/// RoPE scaling it has no name for, rows that are not whole blocks) and for weights that the format
/// cannot hold, Error when the disk fails.
void write_gguf(const ModelSource& source, const std::string& path, GgufFormat format);

}  // namespace pivot
