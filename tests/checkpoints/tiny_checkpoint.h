#pragma once
/// A small checkpoint with known contents.

#include <string>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "src/base/log.h"
#include "src/base/options.h"

namespace pivot::test {

inline ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab = 48;
  config.dim = 16;
  config.layers = 2;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 8;
  config.ffn_dim = 24;
  config.context = 64;
  config.qk_norm = true;
  config.tied_embeddings = false;
  return config;
}

/// Weights and moments whose values depend on the step, so that a mix of two steps is seen.
struct TinyCheckpoint {
  explicit TinyCheckpoint(int64_t step, const ModelConfig& config = tiny_config()) {
    info.model = config;
    info.attention = "topk:1%";
    info.tokenizer_kind = "sentencepiece";
    info.tokenizer_bytes = std::string("\x0a\x00\xff tokens", 10);
    info.tokenizer_hash = "0123456789abcdef";
    info.config_toml = "steps = 100\n";
    info.pivot_version = "test";
    info.state.step = step;
    info.state.consumed_sequences = 8 * step;
    info.state.consumed_tokens = 1024 * step;
    info.state.elapsed_seconds = 0.1 + static_cast<double>(step);
    const auto count = static_cast<size_t>(parameter_count(config));
    for (std::vector<float>* set : {&weights, &m, &v}) set->resize(count);
    for (size_t i = 0; i < count; ++i) {
      const float x = static_cast<float>(step) + static_cast<float>(i) / 3.0F;
      weights[i] = x;
      m[i] = -x;
      v[i] = x * x;
    }
  }
  static Tensor flat(std::vector<float>& values) {
    return view(values.data(), {static_cast<int64_t>(values.size())});
  }
  std::string save(const std::string& dir) {
    return save_checkpoint(dir, info, flat(weights), flat(m), flat(v));
  }

  CheckpointInfo info;
  std::vector<float> weights, m, v;
};

/// No warnings on the terminal while a test provokes them.
class QuietLog {
 public:
  QuietLog() { log::set_level(log::Level::Off); }
  ~QuietLog() { log::set_level(log::Level::Info); }
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;
};

/// What a checkpoint on disk holds.
inline TinyCheckpoint load(const std::string& path) {
  TinyCheckpoint loaded(0);
  loaded.info = read_checkpoint_info(path);
  read_checkpoint_tensors(path, loaded.info.model, TinyCheckpoint::flat(loaded.weights),
                          TinyCheckpoint::flat(loaded.m), TinyCheckpoint::flat(loaded.v));
  return loaded;
}

}  // namespace pivot::test
