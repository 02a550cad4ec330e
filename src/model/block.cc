#include "src/model/block.h"

#include "kernels/attention/attention.h"
#include "kernels/matmul/matmul.h"
#include "kernels/qk_norm/qk_norm.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace pivot {
namespace {

// Dimensions and weights of the block at hand, named once.
struct Block {
  const ModelConfig& c;
  const LayerParams& w;
  const AttentionPolicy& policy;
  const Model& model;
  const ModelInput& input;
  int64_t rows;
  float eps;
  float scale;

  explicit Block(const BlockArgs& a)
      : c(a.model.config),
        w(a.weights),
        policy(a.model.attention[static_cast<size_t>(a.layer)]),
        model(a.model),
        input(a.input),
        rows(a.input.tokens.dim(0)),
        eps(static_cast<float>(c.norm_eps)),
        scale(attention_scale(c)) {}

  Tensor activation(Shape shape, Context& ctx) const {
    return ctx.scratch.tensor(model.compute_dtype(), shape);
  }
  Shape flat_qkv() const { return {rows, int64_t{c.qkv_heads()} * c.head_dim}; }
  Shape flat_attn() const { return {rows, int64_t{c.heads} * c.head_dim}; }
  Shape flat_ffn() const { return {rows, 2 * c.ffn_dim}; }
};

void normed_input(const Block& b, const BlockSaved& s, const Tensor& h, Context& ctx) {
  rmsnorm_forward({.y = h, .rstd = s.rstd_attn, .x = s.x_in, .weight = b.w.attn_norm, .eps = b.eps},
                  ctx);
}

void normed_middle(const Block& b, const BlockSaved& s, const Tensor& h, Context& ctx) {
  rmsnorm_forward({.y = h, .rstd = s.rstd_ffn, .x = s.x_mid, .weight = b.w.ffn_norm, .eps = b.eps},
                  ctx);
}

void project_qkv(const Block& b, const BlockSaved& s, const Tensor& h, Context& ctx) {
  const Tensor& projected = b.c.qk_norm ? s.qkv_raw : s.qkv;
  matmul_forward({.y = projected.reshaped(b.flat_qkv()),
                  .x = h,
                  .w = b.w.qkv,
                  .bias = b.w.qkv_bias,
                  .residual = {}},
                 ctx);
  if (b.c.qk_norm) {
    qk_norm_forward({.out = s.qkv,
                     .rstd = s.qk_rstd,
                     .qkv = s.qkv_raw,
                     .q_weight = b.w.q_norm,
                     .k_weight = b.w.k_norm,
                     .heads = b.c.heads,
                     .kv_heads = b.c.kv_heads,
                     .eps = b.eps},
                    ctx);
  }
  rope({.qkv = s.qkv,
        .positions = b.input.positions,
        .frequencies = b.model.rope_frequencies,
        .heads = b.c.heads,
        .kv_heads = b.c.kv_heads,
        .direction = RopeDirection::Forward},
       ctx);
}

void attend(const Block& b, const BlockSaved& s, AttentionStats* stats, Context& ctx) {
  attention_forward({.out = s.attn,
                     .lse = s.lse,
                     .tau = s.tau,
                     .jcut = s.jcut,
                     .lse_visible = stats != nullptr ? stats->lse_visible : Tensor{},
                     .entropy = stats != nullptr ? stats->entropy : Tensor{},
                     .nan_rows = {},
                     .qkv = s.qkv,
                     .doc_offsets = b.input.doc_offsets,
                     .heads = b.c.heads,
                     .kv_heads = b.c.kv_heads,
                     .scale = b.scale,
                     .max_document = b.input.max_document,
                     .policy = b.policy},
                    ctx);
  if (stats != nullptr) copy(stats->lse, s.lse, ctx);
}

// dx: gradient of y in, of x_mid out.
void backward_ffn(const Block& b, const BlockSaved& s, LayerParams& grad, const Tensor& dx,
                  Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  Tensor act = s.act;
  if (!act.present()) {
    act = b.activation({b.rows, b.c.ffn_dim}, ctx);
    swiglu_forward({.y = act, .gate_up = s.gate_up}, ctx);
  }
  const Tensor dact = b.activation({b.rows, b.c.ffn_dim}, ctx);
  matmul_backward({.dx = dact, .dw = grad.down, .dbias = {}, .dy = dx, .x = act, .w = b.w.down},
                  ctx);
  swiglu_backward({.dgate_up = s.gate_up, .dy = dact, .gate_up = s.gate_up}, ctx);
  Tensor h = s.h_ffn;
  if (!h.present()) {
    h = b.activation({b.rows, b.c.dim}, ctx);
    normed_middle(b, s, h, ctx);
  }
  const Tensor dh = b.activation({b.rows, b.c.dim}, ctx);
  matmul_backward({.dx = dh,
                   .dw = grad.gate_up,
                   .dbias = {},
                   .dy = s.gate_up.reshaped(b.flat_ffn()),
                   .x = h,
                   .w = b.w.gate_up},
                  ctx);
  rmsnorm_backward({.dx = dx,
                    .dweight = grad.ffn_norm,
                    .dy = dh,
                    .x = s.x_mid,
                    .weight = b.w.ffn_norm,
                    .rstd = s.rstd_ffn},
                   ctx);
}

// dqkv: gradient of the attention's input in, of the projection's output out.
void backward_rope_and_norm(const Block& b, const BlockSaved& s, LayerParams& grad,
                            const Tensor& dqkv, Context& ctx) {
  rope({.qkv = dqkv,
        .positions = b.input.positions,
        .frequencies = b.model.rope_frequencies,
        .heads = b.c.heads,
        .kv_heads = b.c.kv_heads,
        .direction = RopeDirection::Backward},
       ctx);
  if (!b.c.qk_norm) return;
  qk_norm_backward({.dqkv = dqkv,
                    .dq_weight = grad.q_norm,
                    .dk_weight = grad.k_norm,
                    .qkv = s.qkv_raw,
                    .rstd = s.qk_rstd,
                    .q_weight = b.w.q_norm,
                    .k_weight = b.w.k_norm,
                    .heads = b.c.heads,
                    .kv_heads = b.c.kv_heads},
                   ctx);
}

// dx: gradient of x_mid in, of x_in out.
void backward_attention(const Block& b, const BlockSaved& s, LayerParams& grad, const Tensor& dx,
                        Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor dattn = b.activation({b.rows, b.c.heads, b.c.head_dim}, ctx);
  matmul_backward({.dx = dattn.reshaped(b.flat_attn()),
                   .dw = grad.attn_out,
                   .dbias = {},
                   .dy = dx,
                   .x = s.attn.reshaped(b.flat_attn()),
                   .w = b.w.attn_out},
                  ctx);
  const Tensor dqkv = b.activation({b.rows, b.c.qkv_heads(), b.c.head_dim}, ctx);
  attention_backward({.dqkv = dqkv,
                      .dout = dattn,
                      .out = s.attn,
                      .lse = s.lse,
                      .tau = s.tau,
                      .jcut = s.jcut,
                      .qkv = s.qkv,
                      .doc_offsets = b.input.doc_offsets,
                      .heads = b.c.heads,
                      .kv_heads = b.c.kv_heads,
                      .scale = b.scale,
                      .max_document = b.input.max_document,
                      .policy = b.policy,
                      .order = b.model.gradient_order},
                     ctx);
  backward_rope_and_norm(b, s, grad, dqkv, ctx);
  Tensor h = s.h_attn;
  if (!h.present()) {
    h = b.activation({b.rows, b.c.dim}, ctx);
    normed_input(b, s, h, ctx);
  }
  const Tensor dh = b.activation({b.rows, b.c.dim}, ctx);
  matmul_backward({.dx = dh,
                   .dw = grad.qkv,
                   .dbias = grad.qkv_bias,
                   .dy = dqkv.reshaped(b.flat_qkv()),
                   .x = h,
                   .w = b.w.qkv},
                  ctx);
  rmsnorm_backward({.dx = dx,
                    .dweight = grad.attn_norm,
                    .dy = dh,
                    .x = s.x_in,
                    .weight = b.w.attn_norm,
                    .rstd = s.rstd_attn},
                   ctx);
}

}  // namespace

void block_forward(const BlockArgs& args, BlockSaved& s, const Tensor& y, AttentionStats* stats,
                   Context& ctx) {
  const Block b(args);
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor h = s.h_attn.present() ? s.h_attn : b.activation({b.rows, b.c.dim}, ctx);
  normed_input(b, s, h, ctx);
  project_qkv(b, s, h, ctx);
  attend(b, s, stats, ctx);
  matmul_forward({.y = s.x_mid,
                  .x = s.attn.reshaped(b.flat_attn()),
                  .w = b.w.attn_out,
                  .bias = {},
                  .residual = s.x_in},
                 ctx);
  const Tensor h2 = s.h_ffn.present() ? s.h_ffn : h;
  normed_middle(b, s, h2, ctx);
  matmul_forward({.y = s.gate_up.reshaped(b.flat_ffn()),
                  .x = h2,
                  .w = b.w.gate_up,
                  .bias = {},
                  .residual = {}},
                 ctx);
  const Tensor act = s.act.present() ? s.act : b.activation({b.rows, b.c.ffn_dim}, ctx);
  swiglu_forward({.y = act, .gate_up = s.gate_up}, ctx);
  matmul_forward({.y = y, .x = act, .w = b.w.down, .bias = {}, .residual = s.x_mid}, ctx);
}

void block_backward(const BlockArgs& args, BlockSaved& s, LayerParams& grad, const Tensor& dx,
                    Context& ctx) {
  const Block b(args);
  backward_ffn(b, s, grad, dx, ctx);
  backward_attention(b, s, grad, dx, ctx);
}

}  // namespace pivot
