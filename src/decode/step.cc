#include "src/decode/step.h"

#include "kernels/embedding/embedding.h"
#include "kernels/kv_store/kv_store.h"
#include "kernels/matmul/matmul.h"
#include "kernels/qk_norm/qk_norm.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace pivot {
namespace {

class Step {
 public:
  Step(const Model& model, const KvCache& cache, const StepInput& input, const StepResult& result,
       Context& ctx)
      : model_(model),
        c_(model.config),
        cache_(cache),
        input_(input),
        result_(result),
        ctx_(ctx),
        rows_(input.tokens.dim(0)),
        real_(model.compute_dtype()),
        rstd_(f32({rows_})) {}

  // x (B, C) through one block, in place.
  void block(int layer, const Tensor& x) {
    const Arena::Scope scope = ctx_.scratch.scope();
    const LayerParams& w = model_.params.layer[static_cast<size_t>(layer)];
    const Tensor h = real({rows_, c_.dim});
    norm(x, w.attn_norm, h);
    const Tensor qkv = project_qkv(w, h);
    kv_store({.k_pages = cache_.k_pages(layer),
              .v_pages = cache_.v_pages(layer),
              .qkv = qkv,
              .positions = input_.positions,
              .page_table = input_.page_table,
              .lengths = input_.lengths,
              .heads = c_.heads,
              .kv_heads = c_.kv_heads},
             ctx_);
    const Tensor attn = attend(layer, qkv);
    matmul_forward({.y = x, .x = attn, .w = w.attn_out, .bias = {}, .residual = x}, ctx_);
    norm(x, w.ffn_norm, h);
    const Tensor gate_up = real({rows_, 2, c_.ffn_dim});
    matmul_forward({.y = gate_up.reshaped({rows_, 2 * c_.ffn_dim}),
                    .x = h,
                    .w = w.gate_up,
                    .bias = {},
                    .residual = {}},
                   ctx_);
    const Tensor act = real({rows_, c_.ffn_dim});
    swiglu_forward({.y = act, .gate_up = gate_up}, ctx_);
    matmul_forward({.y = x, .x = act, .w = w.down, .bias = {}, .residual = x}, ctx_);
  }

  void norm(const Tensor& x, const Tensor& weight, const Tensor& y) {
    rmsnorm_forward(
        {.y = y, .rstd = rstd_, .x = x, .weight = weight, .eps = static_cast<float>(c_.norm_eps)},
        ctx_);
  }

  Tensor real(Shape shape) { return ctx_.scratch.tensor(real_, shape); }

 private:
  Tensor f32(Shape shape) { return ctx_.scratch.tensor(DType::F32, shape); }

  // (B, H + 2 G, D) after RoPE.
  Tensor project_qkv(const LayerParams& w, const Tensor& h) {
    const Shape heads{rows_, c_.qkv_heads(), c_.head_dim};
    Tensor qkv = real(heads);
    matmul_forward({.y = qkv.reshaped({rows_, int64_t{c_.qkv_heads()} * c_.head_dim}),
                    .x = h,
                    .w = w.qkv,
                    .bias = w.qkv_bias,
                    .residual = {}},
                   ctx_);
    if (c_.qk_norm) {
      const Tensor normed = real(heads);
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
    const Tensor out = real({rows_, c_.heads, c_.head_dim});
    const Shape by_head{rows_, c_.heads};
    const bool measure = result_.lse.present() && !policy.dense();
    const auto of_layer = [&](const Tensor& all) {
      return all.rows(layer, layer + 1).reshaped(by_head);
    };
    decode_attention({.out = out,
                      .lse = measure ? of_layer(result_.lse) : f32(by_head),
                      .tau = f32(by_head),
                      .jcut = ctx_.scratch.tensor(DType::I32, by_head),
                      .lse_visible = measure ? of_layer(result_.lse_visible) : Tensor{},
                      .nan_rows = {},
                      .qkv = qkv,
                      .k_pages = cache_.k_pages(layer),
                      .v_pages = cache_.v_pages(layer),
                      .page_table = input_.page_table,
                      .lengths = input_.lengths,
                      .heads = c_.heads,
                      .kv_heads = c_.kv_heads,
                      .scale = attention_scale(c_),
                      .max_length = input_.max_length,
                      .policy = policy},
                     ctx_);
    return out.reshaped({rows_, int64_t{c_.heads} * c_.head_dim});
  }

  const Model& model_;
  const ModelConfig& c_;
  const KvCache& cache_;
  const StepInput& input_;
  const StepResult& result_;
  Context& ctx_;
  int64_t rows_;
  DType real_;  // of activations, as of weights
  Tensor rstd_;
};

}  // namespace

StepResult decode_step(const Model& model, const KvCache& cache, const StepInput& input,
                       KeptMass mass, Context& ctx) {
  const int64_t rows = input.tokens.dim(0);
  PIVOT_CHECK(rows > 0 && rows <= kStepRows, "{} rows in a step of at most {}", rows, kStepRows);
  const ModelConfig& c = model.config;
  StepResult result;
  result.logits = ctx.scratch.tensor(DType::F32, {rows, c.vocab});
  if (mass == KeptMass::Measure) {
    const Shape by_layer{c.layers, rows, c.heads};
    result.lse = ctx.scratch.tensor(DType::F32, by_layer);
    result.lse_visible = ctx.scratch.tensor(DType::F32, by_layer);
  }
  const Arena::Scope scope = ctx.scratch.scope();
  Step step(model, cache, input, result, ctx);
  const Tensor x = step.real({rows, c.dim});
  embedding_forward({.y = x, .table = model.params.embed, .tokens = input.tokens}, ctx);
  for (int layer = 0; layer < c.layers; ++layer) step.block(layer, x);
  const Tensor hidden = step.real({rows, c.dim});
  step.norm(x, model.params.norm, hidden);
  matmul_forward(
      {.y = result.logits, .x = hidden, .w = model.params.head, .bias = {}, .residual = {}}, ctx);
  return result;
}

}  // namespace pivot
