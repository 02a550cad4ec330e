#include "checkpoints/hf/names.h"

#include "src/base/check.h"

namespace pivot {

std::vector<HfPart> hf_parts(const ModelConfig& config, const ParamInfo& param) {
  const int64_t rows = param.shape[0];
  std::string_view name = param.name;
  if (name == "embed.weight") return {{kHfEmbedding, rows}};
  if (name == "norm.weight") return {{"model.norm.weight", rows}};
  if (name == "head.weight") return {{kHfHead, rows}};

  constexpr std::string_view kLayers = "layers.";
  PIVOT_CHECK(name.starts_with(kLayers), "parameter '{}' has no Hugging Face name", name);
  name.remove_prefix(kLayers.size());
  const size_t dot = name.find('.');
  const std::string layer = fmt::format("model.layers.{}.", name.substr(0, dot));
  name.remove_prefix(dot + 1);

  if (name.starts_with("qkv.")) {
    const std::string_view kind = name.substr(4);  // weight or bias
    const int64_t q = int64_t{config.heads} * config.head_dim;
    const int64_t kv = int64_t{config.kv_heads} * config.head_dim;
    return {{fmt::format("{}self_attn.q_proj.{}", layer, kind), q},
            {fmt::format("{}self_attn.k_proj.{}", layer, kind), kv},
            {fmt::format("{}self_attn.v_proj.{}", layer, kind), kv}};
  }
  if (name == "gate_up.weight") {
    return {{layer + "mlp.gate_proj.weight", config.ffn_dim},
            {layer + "mlp.up_proj.weight", config.ffn_dim}};
  }
  struct Renamed {
    std::string_view pivot, hf;
  };
  constexpr Renamed kRenamed[] = {
      {"attn_norm.weight", "input_layernorm.weight"},
      {"q_norm.weight", "self_attn.q_norm.weight"},
      {"k_norm.weight", "self_attn.k_norm.weight"},
      {"attn_out.weight", "self_attn.o_proj.weight"},
      {"ffn_norm.weight", "post_attention_layernorm.weight"},
      {"down.weight", "mlp.down_proj.weight"},
  };
  for (const Renamed& r : kRenamed) {
    if (r.pivot == name) return {{layer + std::string(r.hf), rows}};
  }
  PIVOT_CHECK(false, "parameter '{}' has no Hugging Face name", param.name);
}

bool is_computed_tensor(std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq");
}

}  // namespace pivot
