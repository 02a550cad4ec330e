#include "checkpoints/gguf/layout.h"

#include <string_view>

#include "src/base/check.h"

namespace pivot {

const std::vector<std::string>& gguf_architectures() {
  static const std::vector<std::string> names = {"llama", "qwen2", "qwen3"};
  return names;
}

std::string gguf_architecture(const ModelConfig& config) {
  if (config.qkv_bias && config.qk_norm) {
    throw_user("GGUF has no architecture with both a bias on QKV (qwen2) and QK-norm (qwen3)");
  }
  return config.qkv_bias ? "qwen2" : config.qk_norm ? "qwen3" : "llama";
}

std::vector<GgufPart> gguf_parts(const std::string& architecture, const ModelConfig& config,
                                 const ParamInfo& param) {
  const int64_t q = int64_t{config.heads} * config.head_dim;
  const int64_t kv = int64_t{config.kv_heads} * config.head_dim;
  const HeadRows turned = architecture == "llama" ? HeadRows::Interleaved : HeadRows::Half;
  constexpr HeadRows kPlain = HeadRows::Half;

  const int64_t rows = param.shape[0];
  std::string_view name = param.name;
  if (name == "embed.weight") return {{"token_embd.weight", rows, kPlain}};
  if (name == "norm.weight") return {{"output_norm.weight", rows, kPlain}};
  if (name == "head.weight") return {{"output.weight", rows, kPlain}};

  constexpr std::string_view kLayers = "layers.";
  PIVOT_CHECK(name.starts_with(kLayers), "parameter '{}' has no place in GGUF", name);
  name.remove_prefix(kLayers.size());
  const size_t dot = name.find('.');
  const std::string block = fmt::format("blk.{}.", name.substr(0, dot));
  name.remove_prefix(dot + 1);

  if (name.starts_with("qkv.")) {
    const std::string_view kind = name.substr(4);  // weight or bias
    return {{fmt::format("{}attn_q.{}", block, kind), q, turned},
            {fmt::format("{}attn_k.{}", block, kind), kv, turned},
            {fmt::format("{}attn_v.{}", block, kind), kv, kPlain}};
  }
  if (name == "gate_up.weight") {
    return {{block + "ffn_gate.weight", config.ffn_dim, kPlain},
            {block + "ffn_up.weight", config.ffn_dim, kPlain}};
  }
  struct Renamed {
    std::string_view pivot, gguf;
  };
  constexpr Renamed kRenamed[] = {
      {"attn_norm.weight", "attn_norm.weight"}, {"q_norm.weight", "attn_q_norm.weight"},
      {"k_norm.weight", "attn_k_norm.weight"},  {"attn_out.weight", "attn_output.weight"},
      {"ffn_norm.weight", "ffn_norm.weight"},   {"down.weight", "ffn_down.weight"},
  };
  for (const Renamed& r : kRenamed) {
    if (r.pivot == name) return {{block + std::string(r.gguf), rows, kPlain}};
  }
  PIVOT_CHECK(false, "parameter '{}' has no place in GGUF", param.name);
}

int64_t gguf_row(HeadRows order, int64_t row, int64_t head_dim) {
  if (order == HeadRows::Half) return row;
  const int64_t channel = row % head_dim;
  return row - channel + 2 * (channel % (head_dim / 2)) + channel / (head_dim / 2);
}

int64_t pivot_row(HeadRows order, int64_t row, int64_t head_dim) {
  if (order == HeadRows::Half) return row;
  const int64_t channel = row % head_dim;
  return row - channel + channel / 2 + (channel % 2) * (head_dim / 2);
}

}  // namespace pivot
