#include "checkpoints/hf/rope.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

constexpr double kDefaultTheta = 10000;

constexpr std::array<std::string_view, 14> kKnown = {
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
    "truncate",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
    "finetuned",  // how the model was made, not what it computes
};

void check_keys(const Json& rope, const std::string& where) {
  for (const auto& [key, value] : rope.items()) {
    if (value.is_null() || std::find(kKnown.begin(), kKnown.end(), key) != kKnown.end()) continue;
    if (key == "partial_rotary_factor" && value == 1.0) continue;
    throw_user("{}: {} is {}, which Pivot does not know", where, key, JsonReader::shown(value));
  }
}

double required_number(const JsonReader& rope, const char* key) {
  const auto value = rope.number(key);
  if (!value) throw_user("{}: {} is missing", rope.where(), key);
  return *value;
}

// Zero and absent are the same to transformers.
double optional_number(const JsonReader& rope, const char* key, double absent) {
  const double value = rope.number(key).value_or(0);
  return value == 0 ? absent : value;
}

RopeScaling read_scaling(const JsonReader& config, const JsonReader& rope, int64_t context) {
  RopeScaling s;
  const std::string type = rope.text("rope_type").value_or(rope.text("type").value_or("default"));
  if (type == "default") return s;
  if (type != "linear" && type != "llama3" && type != "yarn") {
    throw_user(
        "{}: RoPE of type '{}' is not one that Pivot computes (default, linear, llama3, yarn)",
        rope.where(), type.substr(0, 40));
  }
  s.type = type;
  if (type == "yarn" && !rope.has("factor")) {
    s.original_context = rope.required_count("original_max_position_embeddings");
    s.factor = static_cast<double>(context) / static_cast<double>(s.original_context);
  } else {
    s.factor = required_number(rope, "factor");
  }
  if (type == "linear") return s;
  // Outside the dictionary it has priority.
  s.original_context =
      config.count("original_max_position_embeddings")
          .value_or(rope.count("original_max_position_embeddings").value_or(context));
  if (type == "llama3") {
    s.low_freq_factor = required_number(rope, "low_freq_factor");
    s.high_freq_factor = required_number(rope, "high_freq_factor");
    return s;
  }
  s.beta_fast = optional_number(rope, "beta_fast", s.beta_fast);
  s.beta_slow = optional_number(rope, "beta_slow", s.beta_slow);
  s.truncate = rope.flag("truncate").value_or(true);
  s.mscale = rope.number("mscale").value_or(0);
  s.mscale_all_dim = rope.number("mscale_all_dim").value_or(0);
  if (rope.has("attention_factor")) {
    s.attention_factor = required_number(rope, "attention_factor");
    if (!(s.attention_factor > 0)) {
      throw_user("{}: attention_factor is {}, must be above 0", rope.where(), s.attention_factor);
    }
  }
  return s;
}

}  // namespace

void read_hf_rope(const JsonReader& config, ModelConfig& model) {
  const bool old = config.has("rope_scaling");
  const char* const key = old ? "rope_scaling" : "rope_parameters";
  const Json* const found = config.find(key);
  const Json none = Json::object();
  const Json& settings = found == nullptr ? none : *found;
  const std::string where = config.where() + ": " + key;
  if (!settings.is_object()) throw_user("{}: not an object", where);
  check_keys(settings, where);
  const JsonReader in(settings, where);
  model.rope_theta =
      in.number("rope_theta").value_or(config.number("rope_theta").value_or(kDefaultTheta));
  model.rope_scaling = read_scaling(config, in, model.context);
}

Json print_hf_rope_scaling(const RopeScaling& s) {
  if (s.type == "none") return nullptr;
  Json out;
  out["rope_type"] = s.type;
  out["factor"] = s.factor;
  if (s.type == "linear") return out;
  out["original_max_position_embeddings"] = s.original_context;
  if (s.type == "llama3") {
    out["low_freq_factor"] = s.low_freq_factor;
    out["high_freq_factor"] = s.high_freq_factor;
    return out;
  }
  out["beta_fast"] = s.beta_fast;
  out["beta_slow"] = s.beta_slow;
  if (!s.truncate) out["truncate"] = false;
  if (s.attention_factor > 0) out["attention_factor"] = s.attention_factor;
  if (s.mscale > 0) out["mscale"] = s.mscale;
  if (s.mscale_all_dim > 0) out["mscale_all_dim"] = s.mscale_all_dim;
  return out;
}

}  // namespace pivot
