#include "src/model/transformer.h"

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "src/base/check.h"
#include "src/model/block.h"

namespace pivot {
namespace {

Tensor stream_tensor(const Model& model, int64_t rows, Context& ctx) {
  return ctx.scratch.tensor(model.compute_dtype(), {rows, model.config.dim});
}

void embed(const Model& model, const ModelInput& input, const Tensor& x, Context& ctx) {
  embedding_forward({.y = x, .table = model.params.embed, .tokens = input.tokens}, ctx);
}

AttentionStats* stats_of(std::vector<AttentionStats>* stats, int layer) {
  return stats == nullptr ? nullptr : &(*stats)[static_cast<size_t>(layer)];
}

// Blocks that keep nothing: x is overwritten by each block's output. `on_block` sees what the block
// computed while it still exists.
template <class OnBlock>
Tensor run_blocks(const Model& model, const ModelInput& input, std::vector<AttentionStats>* stats,
                  Context& ctx, OnBlock&& on_block) {
  const int64_t rows = input.tokens.dim(0);
  Tensor x = stream_tensor(model, rows, ctx);
  Tensor next = stream_tensor(model, rows, ctx);
  embed(model, input, x, ctx);
  LayerWeights weights(model, ctx);
  for (int layer = 0; layer < model.config.layers; ++layer) {
    const Arena::Scope scope = ctx.scratch.scope();
    BlockSaved saved = make_block_saved(model.config, model.compute_dtype(), rows,
                                        Recompute::Selective, ctx.scratch);
    saved.x_in = x;
    block_forward({model, input, layer, weights.of(layer, ctx)}, saved, next,
                  stats_of(stats, layer), ctx);
    on_block(layer, saved);
    std::swap(x, next);
  }
  return x;
}

void final_norm(const Model& model, const Tensor& x, const Tensor& hidden, const Tensor& rstd,
                Context& ctx) {
  rmsnorm_forward({.y = hidden,
                   .rstd = rstd,
                   .x = x,
                   .weight = model.params.norm,
                   .eps = static_cast<float>(model.config.norm_eps)},
                  ctx);
}

// Loss of the final residual stream x, and its gradient into dx; absent gradients of parameters are
// not wanted.
void head_backward(const Model& model, const Tensor& x, const Tensor& targets, float grad_scale,
                   const Params& grads, const Tensor& loss, const Tensor& dx, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const int64_t rows = x.dim(0);
  // A frozen norm's gradient is computed all the same: it is part of the kernel that makes dx.
  Tensor dnorm = grads.norm;
  if (!dnorm.present()) dnorm = ctx.scratch.tensor(DType::F32, {model.config.dim});
  const Tensor hidden = stream_tensor(model, rows, ctx);
  const Tensor rstd = ctx.scratch.tensor(DType::F32, {rows});
  final_norm(model, x, hidden, rstd, ctx);
  const Tensor dhidden = stream_tensor(model, rows, ctx);
  linear_cross_entropy({.loss = loss,
                        .dx = dhidden,
                        .dw = grads.head,
                        .x = hidden,
                        .w = model.params.head,
                        .targets = targets,
                        .grad_scale = grad_scale},
                       ctx);
  fill_zero(dx, ctx);
  rmsnorm_backward({.dx = dx,
                    .dweight = dnorm,
                    .dy = dhidden,
                    .x = x,
                    .weight = model.params.norm,
                    .rstd = rstd},
                   ctx);
}

}  // namespace

Recompute parse_recompute(std::string_view text) {
  if (text == "none") return Recompute::None;
  if (text == "selective") return Recompute::Selective;
  if (text == "full") return Recompute::Full;
  throw_user("recompute '{}' is not known: none, selective or full", text);
}

const char* to_string(Recompute policy) {
  switch (policy) {
    case Recompute::None:
      return "none";
    case Recompute::Selective:
      return "selective";
    case Recompute::Full:
      return "full";
  }
  return "?";
}

std::vector<AttentionStats> make_attention_stats(const ModelConfig& config, int64_t rows,
                                                 Context& ctx) {
  std::vector<AttentionStats> stats(static_cast<size_t>(config.layers));
  for (AttentionStats& s : stats) {
    s.lse = ctx.scratch.tensor(DType::F32, {rows, config.heads});
    s.lse_visible = ctx.scratch.tensor(DType::F32, {rows, config.heads});
    s.entropy = ctx.scratch.tensor(DType::F32, {rows, config.heads});
  }
  return stats;
}

void forward_backward(const Model& model, const ModelInput& input, const Tensor& targets,
                      float grad_scale, Recompute recompute, Gradients& grads, const Tensor& loss,
                      std::vector<AttentionStats>* stats, Context& ctx) {
  const ModelConfig& c = model.config;
  const int64_t rows = input.tokens.dim(0);
  const Arena::Scope scope = ctx.scratch.scope();
  const auto layers = static_cast<size_t>(c.layers);

  std::vector<Tensor> x(layers + 1);
  for (Tensor& t : x) t = stream_tensor(model, rows, ctx);
  std::vector<BlockSaved> saved(layers);
  embed(model, input, x[0], ctx);
  LayerWeights weights(model, ctx);
  for (int layer = 0; layer < c.layers; ++layer) {
    const auto l = static_cast<size_t>(layer);
    const BlockArgs block{model, input, layer, weights.of(layer, ctx)};
    if (recompute == Recompute::Full) {
      const Arena::Scope temporary = ctx.scratch.scope();
      BlockSaved dropped =
          make_block_saved(c, model.compute_dtype(), rows, Recompute::Selective, ctx.scratch);
      dropped.x_in = x[l];
      block_forward(block, dropped, x[l + 1], stats_of(stats, layer), ctx);
    } else {
      saved[l] = make_block_saved(c, model.compute_dtype(), rows, recompute, ctx.scratch);
      saved[l].x_in = x[l];
      block_forward(block, saved[l], x[l + 1], stats_of(stats, layer), ctx);
    }
  }

  const Tensor dx = stream_tensor(model, rows, ctx);
  head_backward(model, x[layers], targets, grad_scale, grads.params, loss, dx, ctx);

  LayerGradients layer_gradients(model, grads, ctx);
  for (int layer = c.layers - 1; layer >= 0; --layer) {
    const auto l = static_cast<size_t>(layer);
    const BlockArgs block{model, input, layer, weights.of(layer, ctx)};
    LayerParams& grad = layer_gradients.begin(layer, ctx);
    if (recompute == Recompute::Full) {
      const Arena::Scope temporary = ctx.scratch.scope();
      BlockSaved again =
          make_block_saved(c, model.compute_dtype(), rows, Recompute::None, ctx.scratch);
      again.x_in = x[l];
      block_forward(block, again, x[l + 1], nullptr, ctx);
      block_backward(block, again, grad, dx, ctx);
    } else {
      block_backward(block, saved[l], grad, dx, ctx);
    }
    layer_gradients.end(layer, ctx);
  }
  if (grads.params.embed.present()) {
    embedding_backward({.dtable = grads.params.embed, .dy = dx, .tokens = input.tokens}, ctx);
  }
}

void forward_loss(const Model& model, const ModelInput& input, const Tensor& targets,
                  const Tensor& loss, std::vector<AttentionStats>* stats, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor x = run_blocks(model, input, stats, ctx, [](int, const BlockSaved&) {});
  const Tensor hidden = stream_tensor(model, x.dim(0), ctx);
  const Tensor rstd = ctx.scratch.tensor(DType::F32, {x.dim(0)});
  final_norm(model, x, hidden, rstd, ctx);
  linear_cross_entropy({.loss = loss,
                        .dx = {},
                        .dw = {},
                        .x = hidden,
                        .w = model.params.head,
                        .targets = targets,
                        .grad_scale = 1.0F},
                       ctx);
}

Tensor forward_hidden(const Model& model, const ModelInput& input, Context& ctx,
                      const QkvSink& on_qkv) {
  const Tensor hidden = stream_tensor(model, input.tokens.dim(0), ctx);
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor x = run_blocks(model, input, nullptr, ctx, [&](int layer, const BlockSaved& saved) {
    if (on_qkv) on_qkv(layer, saved.qkv);
  });
  const Tensor rstd = ctx.scratch.tensor(DType::F32, {x.dim(0)});
  final_norm(model, x, hidden, rstd, ctx);
  return hidden;
}

}  // namespace pivot
