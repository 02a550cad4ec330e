#include "src/model/lora.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/lora/lora.h"
#include "src/base/check.h"
#include "src/base/options.h"
#include "src/model/transformer.h"

namespace pivot {
namespace {

constexpr Projection kAll[kProjections] = {Projection::Q,   Projection::K,    Projection::V,
                                           Projection::O,   Projection::Gate, Projection::Up,
                                           Projection::Down};

// The matrix of a block that holds a projection.
Tensor& matrix_of(LayerParams& layer, Projection p) {
  switch (p) {
    case Projection::Q:
    case Projection::K:
    case Projection::V:
      return layer.qkv;
    case Projection::O:
      return layer.attn_out;
    case Projection::Gate:
    case Projection::Up:
      return layer.gate_up;
    case Projection::Down:
      break;
  }
  return layer.down;
}

struct Rows {
  int64_t begin, end;
};
Rows range_of(const ModelConfig& c, Projection p) {
  const int64_t q = int64_t{c.heads} * c.head_dim;
  const int64_t kv = int64_t{c.kv_heads} * c.head_dim;
  switch (p) {
    case Projection::Q:
      return {0, q};
    case Projection::K:
      return {q, q + kv};
    case Projection::V:
      return {q + kv, q + 2 * kv};
    case Projection::Gate:
      return {0, c.ffn_dim};
    case Projection::Up:
      return {c.ffn_dim, 2 * c.ffn_dim};
    case Projection::O:
    case Projection::Down:
      break;
  }
  return {0, c.dim};
}

const Adapter* find(const LayerAdapters& adapters, Projection p) {
  const auto at = std::find_if(adapters.begin(), adapters.end(),
                               [&](const Adapter& a) { return a.projection == p; });
  return at == adapters.end() ? nullptr : &*at;
}

}  // namespace

const char* to_string(Projection p) {
  constexpr const char* kNames[kProjections] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                "gate_proj", "up_proj", "down_proj"};
  return kNames[static_cast<int>(p)];
}

Tensor rows_of(const LayerParams& layer, const ModelConfig& config, Projection p) {
  LayerParams copy = layer;
  const Tensor matrix = matrix_of(copy, p);
  if (!matrix.present()) return {};
  const Rows rows = range_of(config, p);
  return matrix.rows(rows.begin, rows.end);
}

Shape shape_of(const ModelConfig& c, Projection p) {
  const Rows rows = range_of(c, p);
  const int64_t inputs = p == Projection::O      ? int64_t{c.heads} * c.head_dim
                         : p == Projection::Down ? c.ffn_dim
                                                 : c.dim;
  return {rows.end - rows.begin, inputs};
}

void validate(const LoraConfig& lora) {
  if (lora.rank < 0)
    throw_user("lora.rank is {}: must not be negative; 0 trains the weights", lora.rank);
  if (!(lora.alpha >= 0) || !std::isfinite(lora.alpha)) {
    throw_user("lora.alpha is {}: must be positive; 0 takes twice the rank", lora.alpha);
  }
  if (lora.on()) lora_targets(lora);
}

std::vector<Projection> lora_targets(const LoraConfig& lora) {
  std::vector<std::string> names;
  for (const Projection p : kAll) names.emplace_back(to_string(p));
  std::vector<bool> chosen(kProjections);
  for (const std::string& target : lora.targets) {
    if (target == "all") {
      chosen.assign(kProjections, true);
      continue;
    }
    const auto at = std::find(names.begin(), names.end(), target);
    if (at == names.end()) {
      throw_user("lora.targets: '{}' is no matrix of a block; did you mean '{}'? ('all' takes all)",
                 target, nearest_name(target, names));
    }
    chosen[static_cast<size_t>(at - names.begin())] = true;
  }
  std::vector<Projection> targets;
  for (const Projection p : kAll) {
    if (chosen[static_cast<size_t>(p)]) targets.push_back(p);
  }
  if (targets.empty()) throw_user("lora.targets is empty: name matrices, or all");
  return targets;
}

std::vector<ParamInfo> list_adapters(const ModelConfig& config, const LoraConfig& lora) {
  std::vector<ParamInfo> list;
  int64_t offset = 0;
  const auto add = [&](const std::string& name, Shape shape, Init init) {
    list.push_back({name, shape, init, Decay::Yes, offset});
    offset += shape.count();
  };
  for (int layer = 0; layer < config.layers; ++layer) {
    for (const Projection p : lora_targets(lora)) {
      const Shape w = shape_of(config, p);
      const std::string prefix = fmt::format("layers.{}.{}.", layer, to_string(p));
      add(prefix + "lora_a", {lora.rank, w[1]}, Init::Uniform);
      add(prefix + "lora_b", {w[0], lora.rank}, Init::Zeros);
    }
  }
  return list;
}

std::vector<LayerAdapters> bind_adapters(const ModelConfig& config, const LoraConfig& lora,
                                         const Tensor& flat) {
  std::vector<LayerAdapters> layers(static_cast<size_t>(config.layers));
  const std::vector<ParamInfo> list = list_adapters(config, lora);
  const auto view_of = [&](const ParamInfo& p) {
    return flat.rows(p.offset, p.offset + p.shape.count()).reshaped(p.shape);
  };
  const ParamInfo* next = list.data();
  for (LayerAdapters& layer : layers) {
    for (const Projection p : lora_targets(lora)) {
      layer.push_back({p, view_of(next[0]), view_of(next[1])});
      next += 2;
    }
  }
  return layers;
}

LayerWeights::LayerWeights(const Model& model, Context& ctx) : model_(model) {
  if (!model.lora.on()) return;
  LayerParams like = model.params.layer.front();
  for (const Adapter& adapter : model.lora.compute.front()) {
    Tensor& matrix = matrix_of(scratch_, adapter.projection);
    const Tensor& base = matrix_of(like, adapter.projection);
    if (!matrix.present()) matrix = ctx.scratch.tensor(base.dtype, base.shape);
  }
}

const LayerParams& LayerWeights::of(int layer, Context& ctx) {
  const LayerParams& base = model_.params.layer[static_cast<size_t>(layer)];
  if (!model_.lora.on()) return base;
  if (layer == layer_) return merged_;
  layer_ = layer;
  merged_ = base;
  const LayerAdapters& adapters = model_.lora.compute[static_cast<size_t>(layer)];
  for (const Projection p : kAll) {
    const Tensor y = rows_of(scratch_, model_.config, p);
    if (!y.present()) continue;
    const Tensor w = rows_of(base, model_.config, p);
    if (const Adapter* adapter = find(adapters, p)) {
      lora_merge({.y = y, .w = w, .a = adapter->a, .b = adapter->b, .scale = model_.lora.scale()},
                 ctx);
    } else {
      copy(y, w, ctx);  // of the same fused matrix, without an adapter
    }
    matrix_of(merged_, p) = matrix_of(scratch_, p);
  }
  return merged_;
}

LayerGradients::LayerGradients(const Model& model, Gradients& gradients, Context& ctx)
    : model_(model), gradients_(gradients) {
  if (!model.lora.on()) return;
  LayerParams like = model.params.layer.front();
  std::vector<std::pair<Tensor*, Shape>> parts = {{&layer_.attn_norm, like.attn_norm.shape},
                                                  {&layer_.ffn_norm, like.ffn_norm.shape}};
  if (model.config.qk_norm) {
    parts.push_back({&layer_.q_norm, like.q_norm.shape});
    parts.push_back({&layer_.k_norm, like.k_norm.shape});
  }
  for (const Adapter& adapter : model.lora.compute.front()) {
    Tensor& matrix = matrix_of(layer_, adapter.projection);
    const bool listed = std::any_of(parts.begin(), parts.end(),
                                    [&](const auto& part) { return part.first == &matrix; });
    if (!listed) parts.push_back({&matrix, matrix_of(like, adapter.projection).shape});
  }
  int64_t count = 0;
  for (const auto& [part, shape] : parts) count += shape.count();
  memory_ = ctx.scratch.tensor(DType::F32, {count});
  int64_t offset = 0;
  for (const auto& [part, shape] : parts) {
    *part = memory_.rows(offset, offset + shape.count()).reshaped(shape);
    offset += shape.count();
  }
}

LayerParams& LayerGradients::begin(int layer, Context& ctx) {
  if (!model_.lora.on()) return gradients_.params.layer[static_cast<size_t>(layer)];
  fill_zero(memory_, ctx);
  return layer_;
}

void LayerGradients::end(int layer, Context& ctx) {
  if (!model_.lora.on()) return;
  const auto l = static_cast<size_t>(layer);
  for (size_t i = 0; i < gradients_.adapters[l].size(); ++i) {
    const Adapter& gradient = gradients_.adapters[l][i];
    const Adapter& adapter = model_.lora.master[l][i];
    lora_backward({.da = gradient.a,
                   .db = gradient.b,
                   .dy = rows_of(layer_, model_.config, adapter.projection),
                   .a = adapter.a,
                   .b = adapter.b,
                   .scale = model_.lora.scale()},
                  ctx);
  }
}

void merge_adapters(const Model& model, const Params& out, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  copy(out.embed, model.params.embed, ctx);
  LayerWeights weights(model, ctx);
  for (int layer = 0; layer < model.config.layers; ++layer) {
    const LayerParams& from = weights.of(layer, ctx);
    const LayerParams& to = out.layer[static_cast<size_t>(layer)];
    for (const auto member : {&LayerParams::attn_norm, &LayerParams::qkv, &LayerParams::qkv_bias,
                              &LayerParams::q_norm, &LayerParams::k_norm, &LayerParams::attn_out,
                              &LayerParams::ffn_norm, &LayerParams::gate_up, &LayerParams::down}) {
      if ((to.*member).present()) copy(to.*member, from.*member, ctx);
    }
  }
  copy(out.norm, model.params.norm, ctx);
  if (!model.config.tied_embeddings) copy(out.head, model.params.head, ctx);
}

}  // namespace pivot
