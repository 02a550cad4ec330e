#pragma once
/// The parameters of a model: named, shaped and initialised by ONE visitor; stored flat.
/// Weights, gradients and both moments use the same layout.

#include <functional>
#include <string>
#include <vector>

#include "src/core/context.h"
#include "src/model/config.h"

namespace pivot {

/// Residual: Normal / sqrt(2 L). Uniform: within 1 / sqrt(columns), of adapters.
enum class Init { Normal, Residual, Ones, Zeros, Uniform };
enum class Decay { No, Yes };

struct LayerParams {
  Tensor attn_norm;  // (C)
  Tensor qkv;        // (H + 2 G) * D, C
  Tensor qkv_bias;   // (H + 2 G) * D, or absent
  Tensor q_norm;     // (D) or absent
  Tensor k_norm;     // (D) or absent
  Tensor attn_out;   // (C, H * D)
  Tensor ffn_norm;   // (C)
  Tensor gate_up;    // (2 F, C)
  Tensor down;       // (C, F)
};

struct Params {
  Tensor embed;  // (V, C)
  std::vector<LayerParams> layer;
  Tensor norm;  // (C)
  Tensor head;  // (V, C); the same memory as embed when tied
};

/// f(name, tensor, shape, init, decay) for every stored tensor, in storage order.
template <class F>
void visit_params(Params& p, const ModelConfig& c, F&& f) {
  const int64_t qkv = int64_t{c.qkv_heads()} * c.head_dim;
  const int64_t width = int64_t{c.heads} * c.head_dim;
  p.layer.resize(static_cast<size_t>(c.layers));
  f("embed.weight", p.embed, Shape{c.vocab, c.dim}, Init::Normal, Decay::No);
  for (int l = 0; l < c.layers; ++l) {
    LayerParams& x = p.layer[static_cast<size_t>(l)];
    const std::string prefix = "layers." + std::to_string(l) + ".";
    f(prefix + "attn_norm.weight", x.attn_norm, Shape{c.dim}, Init::Ones, Decay::No);
    f(prefix + "qkv.weight", x.qkv, Shape{qkv, c.dim}, Init::Normal, Decay::Yes);
    if (c.qkv_bias) f(prefix + "qkv.bias", x.qkv_bias, Shape{qkv}, Init::Zeros, Decay::No);
    if (c.qk_norm) {
      f(prefix + "q_norm.weight", x.q_norm, Shape{c.head_dim}, Init::Ones, Decay::No);
      f(prefix + "k_norm.weight", x.k_norm, Shape{c.head_dim}, Init::Ones, Decay::No);
    }
    f(prefix + "attn_out.weight", x.attn_out, Shape{c.dim, width}, Init::Residual, Decay::Yes);
    f(prefix + "ffn_norm.weight", x.ffn_norm, Shape{c.dim}, Init::Ones, Decay::No);
    f(prefix + "gate_up.weight", x.gate_up, Shape{2 * c.ffn_dim, c.dim}, Init::Normal, Decay::Yes);
    f(prefix + "down.weight", x.down, Shape{c.dim, c.ffn_dim}, Init::Residual, Decay::Yes);
  }
  f("norm.weight", p.norm, Shape{c.dim}, Init::Ones, Decay::No);
  if (!c.tied_embeddings) {
    f("head.weight", p.head, Shape{c.vocab, c.dim}, Init::Normal, Decay::No);
  }
}

/// One entry of the list above without storage.
struct ParamInfo {
  std::string name;
  Shape shape;
  Init init;
  Decay decay;
  int64_t offset;  // elements into the flat buffer
};
std::vector<ParamInfo> list_params(const ModelConfig& config);

/// Visits runs of rows of at most `elements` values (but at least a row), in storage order.
void for_each_piece(
    const std::vector<ParamInfo>& params, int64_t elements,
    const std::function<void(const ParamInfo& param, int64_t begin, int64_t end)>& visit);

/// Views into a flat (P) tensor in the order of list_params; sets head = embed when tied.
Params bind_params(const ModelConfig& config, const Tensor& flat);

/// Fills a flat (P) F32 tensor: Normal has standard deviation init_std, values are a function of
/// (seed, name, index) alone.
void init_params(const ModelConfig& config, const Tensor& flat, uint64_t seed, Context& ctx);
/// The same for any list of tensors, stored as their offsets say.
void init_params(const std::vector<ParamInfo>& params, const ModelConfig& config,
                 const Tensor& flat, uint64_t seed, Context& ctx);

}  // namespace pivot
