#pragma once
/// Where Pivot's parameters lie in a GGUF file: the one list, for reading and writing.

#include <string>
#include <vector>

#include "src/model/params.h"

namespace pivot {

/// The order of a head's rows. Half: channel i turns with i + D/2, as in Pivot and Hugging Face.
/// Interleaved: 2i turns with 2i + 1, as GGUF's architecture "llama" has query and key heads.
enum class HeadRows { Half, Interleaved };

/// Rows of a Pivot parameter that are one GGUF tensor.
struct GgufPart {
  std::string tensor;
  int64_t rows;
  HeadRows order;
};

/// "llama", "qwen2" and "qwen3".
const std::vector<std::string>& gguf_architectures();
/// The architecture that computes what `config` says: qwen2 with biases, qwen3 with norms of
/// queries and keys, llama otherwise. Throws UserError for both.
std::string gguf_architecture(const ModelConfig& config);

/// The tensors of `param`, in the order of its rows.
std::vector<GgufPart> gguf_parts(const std::string& architecture, const ModelConfig& config,
                                 const ParamInfo& param);

/// Row of a tensor in `order` that holds row `row` of a part; its heads have `head_dim` rows.
int64_t gguf_row(HeadRows order, int64_t row, int64_t head_dim);
/// The inverse.
int64_t pivot_row(HeadRows order, int64_t row, int64_t head_dim);

/// The tensor of the factors that "llama3" scaling divides frequencies by, (D / 2) F32.
inline constexpr char kRopeFactorsTensor[] = "rope_freqs.weight";

}  // namespace pivot
