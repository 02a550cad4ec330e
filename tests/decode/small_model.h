#pragma once
/// Models built in memory.

#include <memory>
#include <string>
#include <vector>

#include "kernels/rope/rope.h"
#include "src/model/transformer.h"
#include "tests/support/test_context.h"

namespace pivot::test {

/// Weights and the views into them.
class SmallModel {
 public:
  /// init_params times `gain`: at 0.02 the softmaxes would be flat.
  SmallModel(const ModelConfig& config, float gain, uint64_t seed = 1)
      : weights_(static_cast<size_t>(parameter_count(config)), 0.0F),
        frequencies_(rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)) {
    const Tensor flat = view(weights_.data(), {static_cast<int64_t>(weights_.size())});
    if (gain > 0) {
      TestContext ctx(size_t{1} << 20);
      init_params(config, flat, seed, ctx);
      for (float& w : weights_) w = w == 1.0F ? w : w * gain;
      if (config.qkv_bias) {
        for (const ParamInfo& p : list_params(config)) {
          if (p.init != Init::Zeros) continue;
          for (int64_t i = 0; i < p.shape.count(); ++i) {
            weights_[static_cast<size_t>(p.offset + i)] = 0.1F * static_cast<float>(i % 7 - 3);
          }
        }
      }
    }
    model_.config = config;
    model_.params = bind_params(config, flat);
    model_.rope_frequencies =
        view(frequencies_.data(), {static_cast<int64_t>(frequencies_.size())});
    model_.attention.resize(static_cast<size_t>(config.layers));
  }
  SmallModel(const SmallModel&) = delete;
  SmallModel& operator=(const SmallModel&) = delete;

  Model& model() { return model_; }

 private:
  std::vector<float> weights_, frequencies_;
  Model model_;
};

/// A model of the byte tokenizer (padded to 264 tokens) that follows byte b by byte b + 1, and 'z'
/// by the end of the text. Its padding rows have the largest logits of all.
inline std::unique_ptr<SmallModel> counting_model() {
  const int64_t vocab = 264;
  auto small = std::make_unique<SmallModel>(ModelConfig{.vocab = vocab,
                                                        .dim = vocab,
                                                        .layers = 1,
                                                        .heads = 1,
                                                        .kv_heads = 1,
                                                        .head_dim = 8,
                                                        .ffn_dim = 2,
                                                        .rope_scaling = {},
                                                        .context = 64,
                                                        .tied_embeddings = false},
                                            0.0F);
  Params& params = small->model().params;
  for (int64_t i = 0; i < vocab; ++i) {
    params.norm.as<float>()[i] = 1;
    params.embed.as<float>()[i * vocab + i] = 1;
    const int64_t next = i == 'z' ? 257 : (i + 1) % 256;
    params.head.as<float>()[next * vocab + i] = 1;
    params.head.as<float>()[260 * vocab + i] = 2;
  }
  return small;
}

}  // namespace pivot::test
