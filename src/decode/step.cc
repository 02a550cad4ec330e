#include "src/decode/step.h"

#include <cmath>

#include "kernels/embedding/embedding.h"
#include "kernels/matmul/matmul.h"
#include "kernels/qk_norm/qk_norm.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace pivot {
namespace {

class Step {
 public:
  Step(const Model& model, const KvCache& cache, const StepInput& input, const StepHooks& hooks,
       Context& ctx)
      : model_(model),
        c_(model.config),
        cache_(cache),
        input_(input),
        hooks_(hooks),
        ctx_(ctx),
        rows_(input.tokens.dim(0)),
        rstd_(f32({rows_})) {}

  // x (B, C) through one block, in place.
  void block(int layer, const Tensor& x) {
    const Arena::Scope scope = ctx_.scratch.scope();
    const LayerParams& w = model_.params.layer[static_cast<size_t>(layer)];
    const Tensor h = f32({rows_, c_.dim});
    norm(x, w.attn_norm, h);
    const Tensor qkv = project_qkv(w, h);
    hooks_.store(layer, qkv);
    const Tensor attn = attend(layer, qkv);
    matmul_forward({.y = x, .x = attn, .w = w.attn_out, .bias = {}, .residual = x}, ctx_);
    norm(x, w.ffn_norm, h);
    const Tensor gate_up = f32({rows_, 2, c_.ffn_dim});
    matmul_forward({.y = gate_up.reshaped({rows_, 2 * c_.ffn_dim}),
                    .x = h,
                    .w = w.gate_up,
                    .bias = {},
                    .residual = {}},
                   ctx_);
    const Tensor act = f32({rows_, c_.ffn_dim});
    swiglu_forward({.y = act, .gate_up = gate_up}, ctx_);
    matmul_forward({.y = x, .x = act, .w = w.down, .bias = {}, .residual = x}, ctx_);
  }

  void norm(const Tensor& x, const Tensor& weight, const Tensor& y) {
    rmsnorm_forward(
        {.y = y, .rstd = rstd_, .x = x, .weight = weight, .eps = static_cast<float>(c_.norm_eps)},
        ctx_);
  }

  Tensor f32(Shape shape) { return ctx_.scratch.tensor(DType::F32, shape); }

 private:
  // (B, H + 2 G, D) after RoPE.
  Tensor project_qkv(const LayerParams& w, const Tensor& h) {
    const Shape heads{rows_, c_.qkv_heads(), c_.head_dim};
    Tensor qkv = f32(heads);
    matmul_forward({.y = qkv.reshaped({rows_, int64_t{c_.qkv_heads()} * c_.head_dim}),
                    .x = h,
                    .w = w.qkv,
                    .bias = w.qkv_bias,
                    .residual = {}},
                   ctx_);
    if (c_.qk_norm) {
      const Tensor normed = f32(heads);
      qk_norm_forward({.out = normed,
                       .rstd = f32({rows_, c_.heads + c_.kv_heads}),
                       .qkv = qkv,
                       .q_weight = w.q_norm,
                       .k_weight = w.k_norm,
                       .heads = c_.heads,
                       .kv_heads = c_.kv_heads,
                       .eps = static_cast<float>(c_.norm_eps)},
                      ctx_);
      qkv = normed;
    }
    rope({.qkv = qkv,
          .positions = input_.positions,
          .frequencies = model_.rope_frequencies,
          .heads = c_.heads,
          .kv_heads = c_.kv_heads,
          .direction = RopeDirection::Forward},
         ctx_);
    return qkv;
  }

  // (B, H * D)
  Tensor attend(int layer, const Tensor& qkv) {
    const AttentionPolicy& policy = model_.attention[static_cast<size_t>(layer)];
    const Tensor out = f32({rows_, c_.heads, c_.head_dim});
    const Tensor lse = f32({rows_, c_.heads});
    const bool measure = hooks_.mass && !policy.dense();
    const Tensor visible = measure ? f32({rows_, c_.heads}) : Tensor{};
    decode_attention({.out = out,
                      .lse = lse,
                      .tau = f32({rows_, c_.heads}),
                      .jcut = ctx_.scratch.tensor(DType::I32, {rows_, c_.heads}),
                      .lse_visible = visible,
                      .nan_rows = {},
                      .qkv = qkv,
                      .k_pages = cache_.k_pages(layer),
                      .v_pages = cache_.v_pages(layer),
                      .page_table = input_.page_table,
                      .lengths = input_.lengths,
                      .heads = c_.heads,
                      .kv_heads = c_.kv_heads,
                      .scale = 1.0F / std::sqrt(static_cast<float>(c_.head_dim)),
                      .max_length = input_.max_length,
                      .policy = policy},
                     ctx_);
    if (measure) hooks_.mass(layer, lse, visible);
    return out.reshaped({rows_, int64_t{c_.heads} * c_.head_dim});
  }

  const Model& model_;
  const ModelConfig& c_;
  const KvCache& cache_;
  const StepInput& input_;
  const StepHooks& hooks_;
  Context& ctx_;
  int64_t rows_;
  Tensor rstd_;
};

}  // namespace

Tensor decode_step(const Model& model, const KvCache& cache, const StepInput& input,
                   const StepHooks& hooks, Context& ctx) {
  const int64_t rows = input.tokens.dim(0);
  PIVOT_CHECK(rows > 0 && rows <= kStepRows, "{} rows in a step of at most {}", rows, kStepRows);
  const Tensor logits = ctx.scratch.tensor(DType::F32, {rows, model.config.vocab});
  const Arena::Scope scope = ctx.scratch.scope();
  Step step(model, cache, input, hooks, ctx);
  const Tensor x = step.f32({rows, model.config.dim});
  embedding_forward({.y = x, .table = model.params.embed, .tokens = input.tokens}, ctx);
  for (int layer = 0; layer < model.config.layers; ++layer) step.block(layer, x);
  const Tensor hidden = step.f32({rows, model.config.dim});
  step.norm(x, model.params.norm, hidden);
  matmul_forward({.y = logits, .x = hidden, .w = model.params.head, .bias = {}, .residual = {}},
                 ctx);
  return logits;
}

}  // namespace pivot
