#pragma once
/// Rotary position embedding (Su et al., arXiv 2104.09864) in the half-split layout of Hugging
/// Face: channel i < D/2 of a head pairs with channel i + D/2 and turns by position * frequency[i].

#include <string>
#include <vector>

#include "kernels/op.h"

namespace pivot {

/// How the base frequencies are stretched for long contexts; the names of Hugging Face configs.
struct RopeScaling {
  std::string type = "none";        // none | linear | llama3 | yarn
  double factor = 1;                // all: how many times the original context
  double low_freq_factor = 1;       // llama3
  double high_freq_factor = 4;      // llama3
  int64_t original_context = 8192;  // llama3, yarn: context length before scaling
  double beta_fast = 32;            // yarn: with more turns over original_context no change
  double beta_slow = 1;             // yarn: with fewer turns full scaling
  bool truncate = true;             // yarn: both bounds widened to whole channels
  double attention_factor = 0;      // yarn: of queries and keys; 0 derives it from the next two
  double mscale = 0;                // yarn; 0 where not given
  double mscale_all_dim = 0;        // yarn; 0 where not given

  template <class V>
  void visit(V&& v) {
    v("type", type, "RoPE scaling: none, linear, llama3 or yarn");
    v("factor", factor, "how many times the original context (linear, llama3, yarn)");
    v("low_freq_factor", low_freq_factor, "llama3: below original_context/this no change");
    v("high_freq_factor", high_freq_factor, "llama3: above original_context/this full scaling");
    v("original_context", original_context, "llama3, yarn: context length of pretraining");
    v("beta_fast", beta_fast, "yarn: channels that turn more often in original_context stay");
    v("beta_slow", beta_slow, "yarn: channels that turn less often are stretched by factor");
    v("truncate", truncate, "yarn: widen the range in between to whole channels");
    v("attention_factor", attention_factor,
      "yarn: scale of queries and keys; 0 derives it from factor, mscale and mscale_all_dim");
    v("mscale", mscale, "yarn: weight of ln(factor) in attention_factor, with mscale_all_dim");
    v("mscale_all_dim", mscale_all_dim, "yarn: the same in its denominator");
  }
};

/// frequency[i] = theta^(-2 i / D), scaled; computed in double, stored (D / 2) F32.
/// Throws UserError on an unknown scaling type or parameters out of range.
std::vector<float> rope_frequencies(int head_dim, double theta, const RopeScaling& scaling);

/// What scaling multiplies queries and keys by, each: 1 but for yarn (Peng et al., arXiv
/// 2309.00071): 1 + 0.1 ln(factor), or as attention_factor, mscale and mscale_all_dim say. The
/// rotation itself does not scale: attention's scale takes the square (attention_scale()).
double rope_attention_factor(const RopeScaling& scaling);

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
