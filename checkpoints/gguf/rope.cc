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

RopeScaling read_scaling_keys(const GgufFile& file, const std::string& prefix) {
  RopeScaling scaling;
  const std::string_view type = file.text(prefix + "type").value_or("none");
  if (type == "none") return scaling;
  const double factor = file.fraction(prefix + "factor").value_or(1);
  if (!(factor > 0)) throw_user("{}: key '{}factor' is {}", file.path(), prefix, factor);
  if (type == "linear") {
    if (factor == 1) return scaling;
    scaling.type = "linear";
    scaling.factor = factor;
    return scaling;
  }
  throw_user("{}: key '{}type' is '{}'; Pivot knows none, linear and llama3", file.path(), prefix,
             shown_name(type));
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
  const RopeScaling scaling = read_scaling_keys(file, architecture + ".rope.scaling.");
  const auto tensor = file.tensors().find(kRopeFactorsTensor);
  if (tensor == file.tensors().end()) return scaling;
  if (scaling.type != "none") {
    throw_user("{}: has both '{}' scaling and tensor '{}', which Pivot cannot compute", file.path(),
               scaling.type, kRopeFactorsTensor);
  }
  return recognise_llama3(file, config, read_factors(file, tensor->second, config));
}

}  // namespace pivot
