#pragma once
/// From logits to a token. Philox(seed, sequence, position): no state, no dependence on batching.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pivot {

struct SamplerOptions {
  double temperature = 0.8;         // 0: greedy
  int64_t top_k = 0;                // 0: off
  double top_p = 1.0;               // 1: off
  double min_p = 0.0;               // 0: off
  double repetition_penalty = 1.0;  // 1: off (Keskar et al., arXiv 1909.05858)
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  uint64_t seed = 0;

  template <class V>
  void visit(V&& v) {
    v("temperature", temperature, "0 is greedy; 1 samples from the model's distribution");
    v("top_k", top_k, "only the k most probable tokens; 0 is off");
    v("top_p", top_p, "smallest set of tokens with this probability; 1 is off");
    v("min_p", min_p, "only tokens with at least this share of the best one's probability");
    v("repetition_penalty", repetition_penalty,
      "divides the logits of tokens already seen; 1 is off");
    v("presence_penalty", presence_penalty, "subtracted once from logits of generated tokens");
    v("frequency_penalty", frequency_penalty, "subtracted per occurrence among generated tokens");
    v("seed", seed, "seed of the sampler");
  }
};

/// Throws UserError on values out of range.
void validate(const SamplerOptions& options);

struct SampledToken {
  int32_t id;
  float logprob;  // of the model's own distribution (temperature 1, no filters)
};

/// log softmax of one token over the first `valid_vocab` logits.
float token_logprob(std::span<const float> logits, int64_t valid_vocab, int32_t id);

/// The next token. In this order, each step on what the one before left:
///   1. rows of the vocabulary at and beyond `valid_vocab` (padding) are dropped;
///   2. repetition penalty on every token of `context`, once each: positive logits are divided by
///   it,
///      negative ones multiplied; then presence and frequency penalty on the generated ones;
///   3. temperature 0 ends here: the best token, ties to the lower id;
///   4. logits / temperature, softmax; 5. top_k best (ties to the lower id); 6. top_p of the
///      probability left (at least one token); 7. min_p, relative to the best token of all;
///   8. one draw with the uniform number of (seed, sequence, context length).
/// `context` are prompt and generated tokens, of which the last `generated` were generated.
/// Throws Error if a logit is NaN or +infinity.
SampledToken sample_token(std::span<const float> logits, int64_t valid_vocab,
                          const SamplerOptions& options, std::span<const int32_t> context,
                          int64_t generated, uint32_t sequence);

}  // namespace pivot
