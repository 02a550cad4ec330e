#pragma once
/// The model that a GGUF file's metadata describes.

#include <string>

#include "checkpoints/gguf/file.h"
#include "src/model/config.h"

namespace pivot {

/// Keys of Pivot's own, which other readers skip.
inline constexpr char kPivotVersionKey[] = "pivot.version";
inline constexpr char kPivotAttentionKey[] = "pivot.attention";
inline constexpr char kPivotConfigKey[] = "pivot.config";
inline constexpr char kPivotStepKey[] = "pivot.step";

/// general.architecture. Throws UserError for one that Pivot cannot compute.
std::string read_gguf_architecture(const GgufFile& file);

/// Everything but what tensors tell is read from keys: all shapes of `config` are then to be
/// checked against tensors. Throws UserError naming the key that is missing, absurd, or says what
/// Pivot cannot compute.
ModelConfig read_gguf_config(const GgufFile& file, const std::string& architecture);

}  // namespace pivot
