#include <nlohmann/json.hpp>

#include "build_info.h"
#include "checkpoints/hf/config.h"
#include "checkpoints/hf/families.h"
#include "checkpoints/hf/json.h"
#include "checkpoints/hf/rope.h"
#include "src/base/check.h"

namespace pivot {
namespace {

const HfFamily& family_of(const ModelConfig& c) {
  if (c.qkv_bias && c.qk_norm) {
    throw_user(
        "no Hugging Face family has both a bias on QKV (qwen2) and QK-norm (qwen3): this model "
        "cannot be exported");
  }
  // transformers wants hidden_size to be a multiple of the heads for llama; mistral is the same
  // model without that rule.
  const std::string type = c.qkv_bias             ? "qwen2"
                           : c.qk_norm            ? "qwen3"
                           : c.dim % c.heads == 0 ? "llama"
                                                  : "mistral";
  for (const HfFamily& family : kHfFamilies) {
    if (type == family.type) return family;
  }
  PIVOT_CHECK(false, "family {} is not listed", type);
}

Json id_or_null(int32_t id) {
  return id < 0 ? Json(nullptr) : Json(id);
}

bool same(const RopeScaling& a, const RopeScaling& b) {
  return print_hf_rope_scaling(a) == print_hf_rope_scaling(b);
}

void set_rope(Json& json, const ModelConfig& c) {
  json.erase("rope_parameters");
  json.erase("original_max_position_embeddings");
  json["rope_theta"] = c.rope_theta;
  json["rope_scaling"] = print_hf_rope_scaling(c.rope_scaling);
}

// A context beyond the window of the origin: the model was trained on to attend to everything.
void set_context(Json& json, const ModelConfig& c) {
  json["max_position_embeddings"] = c.context;
  if (json.contains("sliding_window")) json["sliding_window"] = nullptr;
  if (json.contains("use_sliding_window")) json["use_sliding_window"] = false;
}

Json new_config(const ModelConfig& c, const SpecialIds& special) {
  const HfFamily& family = family_of(c);
  Json json;
  json["architectures"] = {family.architecture};
  json["model_type"] = family.type;
  json["vocab_size"] = c.vocab;
  json["hidden_size"] = c.dim;
  json["intermediate_size"] = c.ffn_dim;
  json["num_hidden_layers"] = c.layers;
  json["num_attention_heads"] = c.heads;
  json["num_key_value_heads"] = c.kv_heads;
  json["head_dim"] = c.head_dim;
  json["hidden_act"] = "silu";
  json["max_position_embeddings"] = c.context;
  json["rms_norm_eps"] = c.norm_eps;
  set_rope(json, c);
  json["tie_word_embeddings"] = c.tied_embeddings;
  if (family.window == HfWindow::Always) json["sliding_window"] = nullptr;
  if (family.window == HfWindow::OnDemand) json["use_sliding_window"] = false;
  if (!c.qkv_bias) json["attention_bias"] = false;
  if (family.window == HfWindow::None) json["mlp_bias"] = false;
  json["attention_dropout"] = 0.0;
  json["initializer_range"] = c.init_std;
  json["bos_token_id"] = id_or_null(special.bos);
  json["eos_token_id"] = id_or_null(special.eos);
  json["use_cache"] = true;
  return json;
}

// The configuration the model came with, changed where the model has changed.
Json changed_config(const std::string& original, const ModelConfig& c) {
  const HfConfig before = read_hf_config(original, kHfConfigFile);
  const ModelConfig& was = before.model;
  Json json = Json::parse(original);
  const auto set = [&](const char* key, auto old_value, auto value) {
    if (old_value != value) json[key] = value;
  };
  if (was.qkv_bias != c.qkv_bias || was.qk_norm != c.qk_norm) {
    throw_user("{} is of family {}, which this model is not of", kHfConfigFile, before.family);
  }
  set("vocab_size", was.vocab, c.vocab);
  set("hidden_size", was.dim, c.dim);
  set("intermediate_size", was.ffn_dim, c.ffn_dim);
  set("num_hidden_layers", was.layers, c.layers);
  set("num_attention_heads", was.heads, c.heads);
  set("num_key_value_heads", was.kv_heads, c.kv_heads);
  set("head_dim", was.head_dim, c.head_dim);
  set("rms_norm_eps", was.norm_eps, c.norm_eps);
  set("tie_word_embeddings", was.tied_embeddings, c.tied_embeddings);
  if (was.context != c.context) set_context(json, c);
  // Scaling may lean on the context where it does not state the original one.
  const bool leans = was.context != c.context && c.rope_scaling.type != "none";
  if (leans || was.rope_theta != c.rope_theta || !same(was.rope_scaling, c.rope_scaling)) {
    set_rope(json, c);
  }
  if (!json.contains("architectures") || json["architectures"].is_null()) {
    for (const HfFamily& family : kHfFamilies) {
      if (family.type == before.family) json["architectures"] = {family.architecture};
    }
  }
  return json;
}

}  // namespace

std::string print_hf_config(const CheckpointInfo& info, const HfConfigFacts& facts) {
  const std::string original = info.companion(kHfConfigFile);
  Json json = original.empty() ? new_config(info.model, facts.special)
                               : changed_config(original, info.model);
  // transformers 4 reads the first, 5 both.
  json["torch_dtype"] = facts.dtype;
  json["dtype"] = facts.dtype;
  json["pivot"] = {{"version", std::string(kVersion)},
                   {"origin", facts.origin},
                   {"attention", info.attention},
                   {"step", info.state.step},
                   {"consumed_sequences", info.state.consumed_sequences},
                   {"consumed_tokens", info.state.consumed_tokens}};
  return json.dump(2) + "\n";
}

}  // namespace pivot
