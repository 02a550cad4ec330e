#pragma once
/// The Llama family from one configuration.

#include <cstdint>
#include <string>

#include "kernels/rope/rope.h"

namespace pivot {

struct ModelConfig {
  int64_t vocab = 0;      // V; 0 in a training config: taken from the data's tokenizer
  int64_t dim = 256;      // C
  int layers = 6;         // L
  int heads = 4;          // H
  int kv_heads = 4;       // G, divides H
  int head_dim = 64;      // D
  int64_t ffn_dim = 688;  // F
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  int64_t context = 1024;  // longest document the model is meant for
  bool tied_embeddings = true;
  bool qkv_bias = false;
  bool qk_norm = false;
  double init_std = 0.02;  // of the initial weights; only used before training

  template <class V>
  void visit(V&& v) {
    v("vocab", vocab, "vocabulary size; 0 takes the tokenizer's");
    v("dim", dim, "width of the residual stream");
    v("layers", layers, "number of transformer blocks");
    v("heads", heads, "query heads");
    v("kv_heads", kv_heads, "key/value heads (GQA); divides heads");
    v("head_dim", head_dim, "channels of a head, even");
    v("ffn_dim", ffn_dim, "width of the SwiGLU layer");
    v("norm_eps", norm_eps, "epsilon of RMSNorm");
    v("rope_theta", rope_theta, "base of the rotary frequencies");
    v.group("rope_scaling", rope_scaling);
    v("context", context, "longest document in tokens");
    v("tied_embeddings", tied_embeddings, "output projection = embedding table");
    v("qkv_bias", qkv_bias, "bias on the QKV projection (Qwen2)");
    v("qk_norm", qk_norm, "RMSNorm on query and key heads (Qwen3)");
    v("init_std", init_std, "standard deviation of the initial weights");
  }

  int qkv_heads() const { return heads + 2 * kv_heads; }
};

/// Throws UserError naming the field that is out of range.
void validate(const ModelConfig& config);
/// Throws UserError if the model cannot compute in this type.
void validate_dtype(const ModelConfig& config, DType dtype);
int64_t parameter_count(const ModelConfig& config);
/// What attention multiplies q . k by: 1 / sqrt(D), and the square of rope_attention_factor().
float attention_scale(const ModelConfig& config);

}  // namespace pivot
