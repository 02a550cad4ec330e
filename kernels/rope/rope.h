#pragma once
/// Rotary position embedding (Su et al., arXiv 2104.09864) in the half-split layout of Hugging
/// Face: channel i < D/2 of a head pairs with channel i + D/2 and turns by position * frequency[i].

#include <string>
#include <vector>

#include "kernels/op.h"

namespace pivot {

/// How the base frequencies are stretched for long contexts; the names of Hugging Face configs.
struct RopeScaling {
  std::string type = "none";        // none | linear | llama3
  double factor = 1;                // linear, llama3
  double low_freq_factor = 1;       // llama3
  double high_freq_factor = 4;      // llama3
  int64_t original_context = 8192;  // llama3: context length before scaling

  template <class V>
  void visit(V&& v) {
    v("type", type, "RoPE scaling: none, linear or llama3");
    v("factor", factor, "how many times the original context (linear, llama3)");
    v("low_freq_factor", low_freq_factor, "llama3: below original_context/this no change");
    v("high_freq_factor", high_freq_factor, "llama3: above original_context/this full scaling");
    v("original_context", original_context, "llama3: context length of pretraining");
  }
};

/// frequency[i] = theta^(-2 i / D), scaled; computed in double, stored (D / 2) F32.
/// Throws UserError on an unknown scaling type.
std::vector<float> rope_frequencies(int head_dim, double theta, const RopeScaling& scaling);

enum class RopeDirection { Forward, Backward };

/// Rotates the query and key heads of qkv in place; Backward turns by the negative angle.
/// The angle is position * frequency in fp32, sine and cosine correctly rounded from double.
struct Rope {
  Tensor qkv;          // in-out (N, H + 2 G, D); heads [0, H + G) are rotated
  Tensor positions;    // in (N) I32: index inside the document
  Tensor frequencies;  // in (D / 2) F32
  int heads;
  int kv_heads;
  RopeDirection direction;
};
void check(const Rope& a);
Cost cost(const Rope& a);
void rope_cpu(const Rope& a, Context& ctx);
void rope_cuda(const Rope& a, Context& ctx);
inline constexpr Op<Rope> rope{"rope", &rope_cpu, PIVOT_CUDA_TWIN(rope_cuda)};

}  // namespace pivot
