#include "checkpoints/gguf/rope.h"

#include <algorithm>
#include <cmath>

#include "checkpoints/gguf/blocks.h"
#include "checkpoints/gguf/layout.h"
#include "src/base/check.h"

namespace pivot {
namespace {

// Converters compute the factors from frequencies in fp32: a relative error of 1e-6 there is up to
// `factor` times as much in the blended ones.
constexpr double kFactorTolerance = 1e-4;

std::vector<float> read_factors(const GgufFile& file, const GgufTensorInfo& tensor,
                                const ModelConfig& config) {
  if (tensor.type->id != static_cast<uint32_t>(GgufType::F32) || tensor.shape.size() != 1 ||
      tensor.shape[0] != config.head_dim / 2) {
    throw_user("{}: tensor '{}' must be {} F32", file.path(), kRopeFactorsTensor,
               config.head_dim / 2);
  }
  std::vector<float> factors(static_cast<size_t>(tensor.shape[0]));
  dequantize(GgufType::F32, file.bytes(tensor).data(), tensor.shape[0], factors.data());
  return factors;
}

bool explains(const ModelConfig& config, const RopeScaling& scaling,
              const std::vector<float>& factors) {
  ModelConfig scaled = config;
  scaled.rope_scaling = scaling;
  const std::vector<float> expected = llama3_rope_factors(scaled);
  for (size_t i = 0; i < factors.size(); ++i) {
    // Written so that NaN does not pass.
    if (!(std::fabs(factors[i] - expected[i]) <= kFactorTolerance * expected[i])) return false;
  }
  return true;
}

RopeScaling recognise_llama3(const GgufFile& file, const ModelConfig& config,
                             const std::vector<float>& factors) {
  RopeScaling scaling;
  if (std::all_of(factors.begin(), factors.end(), [](float f) { return f == 1; })) return scaling;
  scaling.type = "llama3";
  // The longest wavelength is stretched by the whole factor; the rest are Llama 3's constants.
  scaling.factor = file.fraction(kPivotRopeFactor).value_or(factors.back());
  scaling.low_freq_factor = file.fraction(kPivotRopeLow).value_or(1);
  scaling.high_freq_factor = file.fraction(kPivotRopeHigh).value_or(4);
  scaling.original_context = file.integer(kPivotRopeContext).value_or(8192);
  const bool sane = scaling.factor > 0 && scaling.low_freq_factor > 0 &&
                    scaling.high_freq_factor > scaling.low_freq_factor &&
                    scaling.original_context > 0;
  if (!sane || !explains(config, scaling, factors)) {
    throw_user(
        "{}: the factors of tensor '{}' are not those of llama3 scaling with factor {}, low {}, "
        "high {} and context {}: Pivot does not know this scaling",
        file.path(), kRopeFactorsTensor, scaling.factor, scaling.low_freq_factor,
        scaling.high_freq_factor, scaling.original_context);
  }
  return scaling;
}

// YaRN as llama.cpp computes it: what Hugging Face derives from the factor, times attn_factor.
double plain_attention_factor(double factor) {
  return rope_attention_factor({.type = "yarn", .factor = factor});
}

void read_yarn(const GgufFile& file, const std::string& prefix, int64_t context, RopeScaling& s) {
  const auto only = [&](const char* name, double value) {
    const double found = file.fraction(prefix + name).value_or(value);
    if (found == value) return;
    throw_user("{}: key '{}{}' is {}, Pivot computes yarn only with {}", file.path(), prefix, name,
               found, value);
  };
  only("yarn_ext_factor", 1);
  only("yarn_attn_factor", 1);
  only("yarn_log_multiplier", 0);
  s.original_context = file.integer(prefix + "original_context_length").value_or(context);
  s.beta_fast = file.fraction(prefix + "yarn_beta_fast").value_or(s.beta_fast);
  s.beta_slow = file.fraction(prefix + "yarn_beta_slow").value_or(s.beta_slow);
  const double attention = file.fraction(prefix + "attn_factor").value_or(1);
  if (!(attention > 0)) {
    throw_user("{}: key '{}attn_factor' is {}", file.path(), prefix, attention);
  }
  if (attention != 1) s.attention_factor = attention * plain_attention_factor(s.factor);
}

RopeScaling read_scaling_keys(const GgufFile& file, const std::string& prefix, int64_t context) {
  RopeScaling scaling;
  const std::string_view type = file.text(prefix + "type").value_or("none");
  if (type == "none") return scaling;
  if (type != "linear" && type != "yarn") {
    throw_user("{}: key '{}type' is '{}'; Pivot knows none, linear, yarn and llama3", file.path(),
               prefix, shown_name(type));
  }
  const double factor = file.fraction(prefix + "factor").value_or(1);
  if (!(factor > 0)) throw_user("{}: key '{}factor' is {}", file.path(), prefix, factor);
  if (type == "linear" && factor == 1) return scaling;
  scaling.type = type;
  scaling.factor = factor;
  if (type == "yarn") read_yarn(file, prefix, context, scaling);
  return scaling;
}

void add_yarn(const RopeScaling& s, const std::string& prefix, GgufMetadata& metadata) {
  if (!s.truncate) throw_user("RoPE scaling yarn without truncation cannot be written to GGUF");
  metadata.text(prefix + "type", "yarn");
  metadata.f32(prefix + "factor", s.factor);
  metadata.u32(prefix + "original_context_length", s.original_context);
  const RopeScaling defaults;
  if (s.beta_fast != defaults.beta_fast) metadata.f32(prefix + "yarn_beta_fast", s.beta_fast);
  if (s.beta_slow != defaults.beta_slow) metadata.f32(prefix + "yarn_beta_slow", s.beta_slow);
  const double attention = rope_attention_factor(s) / plain_attention_factor(s.factor);
  if (static_cast<float>(attention) != 1) metadata.f32(prefix + "attn_factor", attention);
}

}  // namespace

std::vector<float> llama3_rope_factors(const ModelConfig& config) {
  const std::vector<float> plain = rope_frequencies(config.head_dim, config.rope_theta, {});
  const std::vector<float> scaled =
      rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling);
  std::vector<float> factors;
  for (size_t i = 0; i < plain.size(); ++i) factors.push_back(plain[i] / scaled[i]);
  return factors;
}

void add_rope_scaling(const ModelConfig& config, const std::string& architecture,
                      GgufMetadata& metadata) {
  const RopeScaling& s = config.rope_scaling;
  const std::string prefix = architecture + ".rope.scaling.";
  if (s.type == "none") return;
  if (s.type == "linear") {
    metadata.text(prefix + "type", "linear");
    metadata.f32(prefix + "factor", s.factor);
    return;
  }
  if (s.type == "yarn") return add_yarn(s, prefix, metadata);
  if (s.type == "llama3") {
    metadata.f32(kPivotRopeFactor, s.factor);
    metadata.f32(kPivotRopeLow, s.low_freq_factor);
    metadata.f32(kPivotRopeHigh, s.high_freq_factor);
    metadata.u32(kPivotRopeContext, s.original_context);
    return;
  }
  throw_user("RoPE scaling '{}' cannot be written to GGUF", s.type);
}

RopeScaling read_gguf_rope_scaling(const GgufFile& file, const std::string& architecture,
                                   const ModelConfig& config) {
  const RopeScaling scaling =
      read_scaling_keys(file, architecture + ".rope.scaling.", config.context);
  const auto tensor = file.tensors().find(kRopeFactorsTensor);
  if (tensor == file.tensors().end()) return scaling;
  if (scaling.type != "none") {
    throw_user("{}: has both '{}' scaling and tensor '{}', which Pivot cannot compute", file.path(),
               scaling.type, kRopeFactorsTensor);
  }
  return recognise_llama3(file, config, read_factors(file, tensor->second, config));
}

}  // namespace pivot
