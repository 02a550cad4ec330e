#pragma once
/// A run on disk whose model says what it is expected to.

#include <string>

#include "checkpoints/checkpoint.h"
#include "data/tokenizer.h"
#include "tests/decode/small_model.h"

namespace pivot::test {

/// A run directory with one checkpoint of the counting model. Returns the checkpoint's path.
inline std::string save_counting_model(const std::string& run, const std::string& attention,
                                       SmallModel& small) {
  const Model& model = small.model();
  CheckpointInfo info;
  info.model = model.config;
  info.attention = attention;
  info.tokenizer_kind = "bytes";
  info.tokenizer_hash = make_tokenizer("bytes", "")->hash();
  info.pivot_version = "test";
  const Tensor weights = view(model.params.embed.as<float>(), {parameter_count(model.config)});
  return save_checkpoint(run, info, weights, {}, {});
}

inline std::string save_counting_model(const std::string& run, const std::string& attention) {
  return save_counting_model(run, attention, *counting_model());
}

/// The counting model with room for a conversation; after a line's end it says "abc...xyz" and
/// ends.
inline std::string save_talking_model(const std::string& run, int64_t context) {
  const auto small = counting_model();
  Model& model = small->model();
  model.config.context = context;
  const int64_t vocab = model.config.vocab;
  float* head = model.params.head.as<float>();
  head[('\n' + 1) * vocab + '\n'] = 0;
  head['a' * vocab + '\n'] = 1;
  return save_counting_model(run, "dense", *small);
}

}  // namespace pivot::test
