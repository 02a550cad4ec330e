#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "checkpoints/hf/config.h"
#include "checkpoints/hf/families.h"
#include "checkpoints/hf/json.h"
#include "checkpoints/hf/rope.h"
#include "kernels/attention/policy.h"
#include "src/base/check.h"

namespace pivot {
namespace {

constexpr size_t kLongestConfig = size_t{1} << 20;

// Keys that change what a model computes, with the value that makes them harmless.
struct Harmless {
  const char* key;
  const char* value;  // JSON
};
constexpr std::array kHarmless = {
    Harmless{"attention_bias", "false"},  // bias on q, k, v and o
    Harmless{"mlp_bias", "false"},
    Harmless{"partial_rotary_factor", "1.0"},
    Harmless{"rotary_pct", "1.0"},
    Harmless{"attn_logit_softcapping", "null"},
    Harmless{"final_logit_softcapping", "null"},
    Harmless{"query_pre_attn_scalar", "null"},
    Harmless{"num_experts", "1"},
    Harmless{"num_local_experts", "1"},
    Harmless{"n_routed_experts", "null"},
    Harmless{"attention_multiplier", "null"},
    Harmless{"embedding_multiplier", "1.0"},
    Harmless{"residual_multiplier", "1.0"},
    Harmless{"logits_scaling", "1.0"},
    Harmless{"logit_scale", "1.0"},
    Harmless{"scale_emb", "1"},
    Harmless{"attention_chunk_size", "null"},
    Harmless{"no_rope_layers", "null"},
    Harmless{"use_qk_norm", "false"},
    Harmless{"quantization_config", "null"},
    Harmless{"add_cross_attention", "false"},
    Harmless{"is_encoder_decoder", "false"},
};

std::string family_list() {
  std::string out;
  for (const HfFamily& family : kHfFamilies)
    out += (out.empty() ? "" : ", ") + std::string(family.type);
  return out;
}

class ConfigReader {
 public:
  ConfigReader(const Json& json, const std::string& where) : json_(json), in_(json, where) {}

  HfConfig read() {
    const HfFamily& family = find_family();
    check_harmless(family);
    HfConfig out;
    out.family = family.type;
    ModelConfig& c = out.model;
    c.vocab = in_.required_count("vocab_size");
    c.dim = in_.required_count("hidden_size");
    c.ffn_dim = in_.required_count("intermediate_size");
    c.layers = static_cast<int>(in_.required_count("num_hidden_layers"));
    c.heads = static_cast<int>(in_.required_count("num_attention_heads"));
    c.kv_heads = static_cast<int>(
        in_.count("num_key_value_heads").value_or(family.kv_heads > 0 ? family.kv_heads : c.heads));
    c.head_dim = static_cast<int>(head_dim(family, c));
    c.norm_eps = in_.number("rms_norm_eps").value_or(1e-6);
    c.init_std = in_.number("initializer_range").value_or(0.02);
    c.tied_embeddings = in_.flag("tie_word_embeddings").value_or(false);
    c.qkv_bias = family.qkv_bias;
    c.qk_norm = family.qk_norm;
    c.context = in_.count("max_position_embeddings").value_or(family.context);
    read_hf_rope(in_, c);
    cap_context(family, out);
    check(c);
    read_pivot(out);
    return out;
  }

 private:
  const HfFamily& find_family() const {
    const std::string type = in_.text("model_type").value_or("");
    const std::string architecture = first_architecture();
    for (const HfFamily& family : kHfFamilies) {
      const bool typed =
          type == family.type || (type.empty() && architecture == family.architecture);
      if (!typed) continue;
      if (!architecture.empty() && architecture != family.architecture) {
        throw_user("{}: architecture '{}' is not a language model that Pivot computes ({} is)",
                   in_.where(), architecture.substr(0, 60), family.architecture);
      }
      return family;
    }
    throw_user("{}: models of type '{}' are not computed by Pivot (families: {})", in_.where(),
               (type.empty() ? architecture : type).substr(0, 60), family_list());
  }

  std::string first_architecture() const {
    const Json* list = in_.find("architectures");
    if (list == nullptr) return "";
    if (!list->is_array() || list->empty() || !list->front().is_string()) {
      throw_user("{}: architectures is {}, must be a list of names", in_.where(),
                 JsonReader::shown(*list));
    }
    return list->front().get<std::string>();
  }

  void check_harmless(const HfFamily& family) const {
    const std::string activation = in_.text("hidden_act").value_or("silu");
    if (activation != "silu" && activation != "swish") {
      throw_user("{}: hidden_act is '{}', Pivot computes silu", in_.where(),
                 activation.substr(0, 40));
    }
    for (const Harmless& h : kHarmless) {
      const Json* value = in_.find(h.key);
      if (value == nullptr || *value == Json::parse(h.value)) continue;
      // Qwen 2 has its biases without the key, and transformers ignores it.
      if (family.qkv_bias && std::string_view(h.key) == "attention_bias") continue;
      throw_user("{}: {} is {}, which Pivot does not compute ({} would be fine)", in_.where(),
                 h.key, JsonReader::shown(*value), h.value);
    }
  }

  int64_t head_dim(const HfFamily& family, const ModelConfig& c) const {
    if (const auto given = in_.count("head_dim")) return *given;
    if (family.head_dim > 0) return family.head_dim;
    if (c.dim % c.heads != 0) {
      throw_user(
          "{}: hidden_size {} is no multiple of num_attention_heads {}, and head_dim is missing",
          in_.where(), c.dim, c.heads);
    }
    return c.dim / c.heads;
  }

  // Tokens that an attention window sees, 0 without one.
  int64_t window(const HfFamily& family, const ModelConfig& c) const {
    constexpr int64_t kDefault = 4096;
    if (family.window == HfWindow::None) return 0;
    if (family.window == HfWindow::OnDemand &&
        !(in_.flag("use_sliding_window").value_or(false) && slides(c))) {
      return 0;
    }
    const bool null = json_.contains("sliding_window") && !in_.has("sliding_window");
    return null ? 0 : in_.count("sliding_window").value_or(kDefault);
  }

  // Whether any layer has the window (Qwen): as the list says, or those from max_window_layers on.
  bool slides(const ModelConfig& c) const {
    constexpr int64_t kDefaultFirst = 28;
    const Json* types = in_.find("layer_types");
    if (types == nullptr) {
      const Json* first = in_.find("max_window_layers");
      if (first != nullptr && *first == 0) return true;
      return in_.count("max_window_layers").value_or(kDefaultFirst) < c.layers;
    }
    return std::any_of(types->begin(), types->end(),
                       [](const Json& type) { return type != "full_attention"; });
  }

  void cap_context(const HfFamily& family, HfConfig& out) const {
    ModelConfig& c = out.model;
    const int64_t seen = window(family, c);
    if (seen == 0 || seen >= c.context) return;
    out.warning = fmt::format(
        "{}: trained with a sliding window of {} tokens; Pivot attends to all, which is the same "
        "up "
        "to that length: context capped at {} (was {})",
        in_.where(), seen, seen, c.context);
    c.context = seen;
  }

  void check(const ModelConfig& c) const {
    constexpr int64_t kWidest = int64_t{1} << 24;
    constexpr int64_t kMost = int64_t{1} << 14;  // a thousand times what models have
    if (c.layers > kMost || c.head_dim > kMost) {
      throw_user("{}: {} layers and heads of {} channels are absurd", in_.where(), c.layers,
                 c.head_dim);
    }
    if (int64_t{c.heads} * c.head_dim > kWidest || int64_t{c.kv_heads} * c.head_dim > kWidest) {
      throw_user("{}: {} and {} heads of {} channels are absurd", in_.where(), c.heads, c.kv_heads,
                 c.head_dim);
    }
    try {
      validate(c);
    } catch (const UserError& error) {
      throw_user("{}: {}", in_.where(), error.what());
    }
  }

  void read_pivot(HfConfig& out) const {
    const Json* found = in_.find("pivot");
    if (found == nullptr) return;
    if (!found->is_object()) throw_user("{}: pivot is not an object", in_.where());
    const JsonReader pivot(*found, in_.where() + ": pivot");
    out.attention = pivot.text("attention").value_or("dense");
    out.pivot_version = pivot.text("version").value_or("");
    try {
      parse_layer_policies(out.attention, out.model.layers);
    } catch (const UserError& error) {
      throw_user("{}: attention: {}", pivot.where(), error.what());
    }
    const auto counter = [&](const char* key) {
      const Json* value = pivot.find(key);
      constexpr uint64_t kMost = uint64_t{1} << 62;
      if (value == nullptr) return int64_t{0};
      if (!value->is_number_unsigned() || value->get<uint64_t>() > kMost) {
        throw_user("{}: {} must be a whole number that is not negative", pivot.where(), key);
      }
      return value->get<int64_t>();
    };
    out.state.step = counter("step");
    out.state.consumed_sequences = counter("consumed_sequences");
    out.state.consumed_tokens = counter("consumed_tokens");
  }

  const Json& json_;
  JsonReader in_;
};

}  // namespace

HfConfig read_hf_config(std::string_view text, const std::string& where) {
  const Json json = parse_json_object(text, kLongestConfig, where);
  return ConfigReader(json, where).read();
}

}  // namespace pivot
