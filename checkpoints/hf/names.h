#pragma once
/// How Pivot's parameters lie in the tensors of Hugging Face models. Rows keep their order: rotary
/// channels are half-split in both.

#include <string>
#include <string_view>
#include <vector>

#include "src/model/params.h"

namespace pivot {

/// Rows of a parameter, outermost first, that are one tensor.
struct HfPart {
  std::string tensor;
  int64_t rows;
};
std::vector<HfPart> hf_parts(const ModelConfig& config, const ParamInfo& param);

/// The output projection, absent where embeddings are tied.
inline constexpr char kHfHead[] = "lm_head.weight";
inline constexpr char kHfEmbedding[] = "model.embed_tokens.weight";

/// Tensors that old files hold though they are computed from the configuration.
bool is_computed_tensor(std::string_view name);

}  // namespace pivot
