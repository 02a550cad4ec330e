#pragma once
/// The model: forward with loss, and backward, over packed rows.

#include <functional>
#include <string_view>
#include <vector>

#include "kernels/attention/attention.h"
#include "src/core/context.h"
#include "src/model/config.h"
#include "src/model/lora.h"
#include "src/model/params.h"

namespace pivot {

/// What the backward pass finds saved: Selective recomputes the norms and SwiGLU, Full keeps only
/// each block's input and runs the block again. The results are the same bits.
enum class Recompute { None, Selective, Full };
Recompute parse_recompute(std::string_view text);  // "none" | "selective" | "full"
const char* to_string(Recompute policy);

/// One micro-batch of N packed tokens on the device.
struct ModelInput {
  Tensor tokens;         // (N) I32
  Tensor positions;      // (N) I32, restart with every document
  Tensor doc_offsets;    // (n + 1) I32
  int64_t max_document;  // upper bound of a document's length
};

/// Per-row attention statistics of one layer, for diagnostics.
struct AttentionStats {
  Tensor lse;          // (N, H) F32
  Tensor lse_visible;  // (N, H) F32: kept mass = exp(lse - lse_visible)
  Tensor entropy;      // (N, H) F32
};

/// What does not change between steps.
struct Model {
  ModelConfig config;
  Params params;                           // views, in the compute dtype
  Tensor rope_frequencies;                 // (D / 2) F32
  std::vector<AttentionPolicy> attention;  // one per layer
  GradientOrder gradient_order = GradientOrder::Fixed;
  Lora lora = {};  // with it, blocks compute with params and adapters merged (LayerWeights)

  /// Type of weights and activations: F32, or BF16 on a GPU. Statistics, losses and gradients of
  /// parameters are F32 always.
  DType compute_dtype() const { return params.embed.dtype; }
};

/// Statistics tensors for N rows of every layer, in ctx.scratch.
std::vector<AttentionStats> make_attention_stats(const ModelConfig& config, int64_t rows,
                                                 Context& ctx);

/// Forward and backward of one micro-batch. `grads` is accumulated into; loss (N) F32 is per token,
/// 0 where the target is kIgnoreTarget. grad_scale multiplies every token's loss gradient: 1 /
/// valid targets of the optimiser step. `stats` is null or from make_attention_stats(); it is
/// filled. Activations live in ctx.scratch and are given back on return.
void forward_backward(const Model& model, const ModelInput& input, const Tensor& targets,
                      float grad_scale, Recompute recompute, Gradients& grads, const Tensor& loss,
                      std::vector<AttentionStats>* stats, Context& ctx);

/// Loss only: loss (N) F32.
void forward_loss(const Model& model, const ModelInput& input, const Tensor& targets,
                  const Tensor& loss, std::vector<AttentionStats>* stats, Context& ctx);

/// Receives, layer by layer, the (N, H + 2 G, D) tensor after RoPE (to fill a KV cache); it is
/// valid only during the call.
using QkvSink = std::function<void(int layer, const Tensor& qkv)>;

/// Hidden states after the final norm, (N, C) in ctx.scratch, for logits of chosen rows (matmul
/// with params.head). `on_qkv` may be empty.
Tensor forward_hidden(const Model& model, const ModelInput& input, Context& ctx,
                      const QkvSink& on_qkv = {});

}  // namespace pivot
