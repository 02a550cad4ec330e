#pragma once
/// A random model small enough to evaluate in milliseconds, in memory and as a checkpoint.

#include <string>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "data/tokenizer.h"
#include "kernels/rope/rope.h"
#include "src/base/file.h"
#include "src/base/philox.h"
#include "src/eval/predictor.h"
#include "src/model/transformer.h"
#include "tests/support/test_context.h"

namespace pivot::test {

struct TinyModel {
  std::vector<float> weights, frequencies;
  Model model;

  explicit TinyModel(const std::string& attention, Context& ctx) {
    ModelConfig& c = model.config;
    c.vocab = 300;  // the byte tokenizer's, and some padding
    c.dim = 32;
    c.layers = 2;
    c.heads = 4;
    c.kv_heads = 2;
    c.head_dim = 8;
    c.ffn_dim = 48;
    c.context = 64;
    const int64_t count = parameter_count(c);
    weights.resize(static_cast<size_t>(count));
    init_params(c, flat(), 5, ctx);
    // Attention that is not nearly uniform, and predictions with clear margins.
    for (float& w : weights) {
      if (w != 1.0F) w *= 10;
    }
    frequencies = rope_frequencies(c.head_dim, c.rope_theta, c.rope_scaling);
    model.params = bind_params(c, flat());
    model.rope_frequencies = view(frequencies.data(), {static_cast<int64_t>(frequencies.size())});
    set_attention(attention);
  }
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  Tensor flat() { return view(weights.data(), {static_cast<int64_t>(weights.size())}); }
  void set_attention(const std::string& spec) {
    model.attention = parse_layer_policies(spec, model.config.layers);
  }
  /// As a run directory: DIR/checkpoints/step_... and DIR/metrics.jsonl. Returns DIR.
  std::string save(const std::string& dir, const Tokenizer& tokenizer,
                   const std::string& attention) {
    CheckpointInfo info;
    info.model = model.config;
    info.attention = attention;
    info.tokenizer_kind = tokenizer.kind();
    info.tokenizer_bytes = tokenizer.model_bytes();
    info.tokenizer_hash = tokenizer.hash();
    info.config_toml = "seed = 1\n";
    info.pivot_version = "test";
    info.state.step = 10;
    save_checkpoint(dir + "/checkpoints", info, flat(), {}, {});
    write_file_atomically(dir + "/metrics.jsonl", "{\"kind\":\"schema\"}\n");
    return dir;
  }
};

/// Random tokens below `vocab`; every `every`-th row asks for the next token.
inline eval::EvalDocument random_document(int64_t id, int64_t length, int64_t every,
                                          int64_t vocab = 256) {
  const Philox random(17, Stream::Test, static_cast<uint32_t>(id));
  eval::EvalDocument d;
  d.id = id;
  for (int64_t t = 0; t < length; ++t) {
    d.tokens.push_back(
        static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab), static_cast<uint64_t>(t))));
  }
  d.targets.assign(d.tokens.size(), kNoTarget);
  for (int64_t t = every - 1; t + 1 < length; t += every) {
    d.targets[static_cast<size_t>(t)] = d.tokens[static_cast<size_t>(t) + 1];
  }
  return d;
}

}  // namespace pivot::test
