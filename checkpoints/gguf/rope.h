#pragma once
/// Scaled rotary frequencies in GGUF: keys for "linear" and "yarn", a tensor for "llama3".

#include <string>
#include <vector>

#include "checkpoints/gguf/file.h"
#include "checkpoints/gguf/metadata_writer.h"
#include "src/model/config.h"

namespace pivot {

/// `config` holds all but the scaling. Throws UserError for a scaling that Pivot does not know.
RopeScaling read_gguf_rope_scaling(const GgufFile& file, const std::string& architecture,
                                   const ModelConfig& config);

/// (D / 2): what "llama3" divides each frequency by.
std::vector<float> llama3_rope_factors(const ModelConfig& config);

/// Writes the keys of a scaling; "llama3" also needs the tensor.
void add_rope_scaling(const ModelConfig& config, const std::string& architecture,
                      GgufMetadata& metadata);

/// pivot.rope.*: the parameters of "llama3", which the tensor does not tell exactly.
inline constexpr char kPivotRopeFactor[] = "pivot.rope.factor";
inline constexpr char kPivotRopeLow[] = "pivot.rope.low_freq_factor";
inline constexpr char kPivotRopeHigh[] = "pivot.rope.high_freq_factor";
inline constexpr char kPivotRopeContext[] = "pivot.rope.original_context";

}  // namespace pivot
