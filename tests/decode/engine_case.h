#pragma once
/// What tests of the engine share: a small random model's sizes, prompts, comparisons of logits.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "src/base/philox.h"
#include "src/decode/engine.h"
#include "tests/decode/small_model.h"

namespace pivot::test {

inline constexpr Device kCpu{Device::Kind::Cpu, 0};

inline ModelConfig base_config() {
  return {.vocab = 97,
          .dim = 48,
          .layers = 3,
          .heads = 4,
          .kv_heads = 4,
          .head_dim = 16,
          .ffn_dim = 70,
          .rope_scaling = {},
          .context = 200};
}

inline std::vector<int32_t> random_tokens(int64_t count, uint64_t seed) {
  std::vector<int32_t> tokens;
  const Philox rng(seed, Stream::Test);
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(rng.below(97, static_cast<uint64_t>(i))));
  }
  return tokens;
}

inline EngineOptions options_for(const std::string& spec, int layers, int sequences = 1) {
  return {.attention = parse_layer_policies(spec, layers),
          .prefill = parse_layer_policies(spec, layers),
          .max_context = 0,
          .max_sequences = sequences};
}

inline std::vector<float> logits_of(const Engine& engine, int id) {
  return {engine.logits(id), engine.logits(id) + engine.vocab()};
}

inline bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

inline double worst_difference(const std::vector<float>& x, const std::vector<float>& y) {
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(double{x[i]} - y[i]));
  return worst;
}

}  // namespace pivot::test
