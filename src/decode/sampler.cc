#include "src/decode/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "src/base/check.h"
#include "src/base/philox.h"

namespace pivot {
namespace {

struct Candidate {
  int32_t id;
  float logit;
  double weight;  // exp of the tempered logit relative to the best one
};

// The order in which filters count candidates: best first, ties to the lower id.
bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// Natural log of the sum of exp(logit) over the valid vocabulary.
double log_sum_exp(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

void check_finite(std::span<const float> logits) {
  bool any = false;
  for (const float logit : logits) {
    if (std::isnan(logit) || logit == std::numeric_limits<float>::infinity()) {
      throw_error("the model's logits hold NaN or infinity: its weights are damaged or diverged");
    }
    any = any || logit > -std::numeric_limits<float>::infinity();
  }
  if (!any) throw_error("every logit of the model is -infinity");
}

void apply_penalties(std::vector<float>& logits, const SamplerOptions& options,
                     std::span<const int32_t> context, int64_t generated) {
  const auto in_vocab = [&](int32_t id) {
    return id >= 0 && static_cast<size_t>(id) < logits.size();
  };
  if (options.repetition_penalty != 1.0) {
    std::vector<bool> seen(logits.size(), false);
    const auto penalty = static_cast<float>(options.repetition_penalty);
    for (const int32_t id : context) {
      if (!in_vocab(id) || seen[static_cast<size_t>(id)]) continue;
      seen[static_cast<size_t>(id)] = true;
      float& logit = logits[static_cast<size_t>(id)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (options.presence_penalty == 0.0 && options.frequency_penalty == 0.0) return;
  std::unordered_map<int32_t, int64_t> counts;
  for (const int32_t id : context.last(static_cast<size_t>(generated))) {
    if (in_vocab(id)) ++counts[id];
  }
  for (const auto& [id, count] : counts) {
    logits[static_cast<size_t>(id)] -= static_cast<float>(
        options.presence_penalty + options.frequency_penalty * static_cast<double>(count));
  }
}

// Cuts `all` to its `keep` best.
void keep_best(std::vector<Candidate>& all, size_t keep) {
  if (keep >= all.size()) return;
  std::nth_element(all.begin(), all.begin() + static_cast<int64_t>(keep), all.end(), better);
  all.resize(keep);
}

// Smallest set of best candidates that holds top_p of the probability that is left.
void keep_nucleus(std::vector<Candidate>& all, double top_p) {
  if (top_p >= 1.0) return;
  std::sort(all.begin(), all.end(), better);
  double total = 0;
  for (const Candidate& c : all) total += c.weight;
  double sum = 0;
  size_t keep = 0;
  while (keep < all.size() && (keep == 0 || sum < top_p * total)) sum += all[keep++].weight;
  all.resize(keep);
}

int32_t draw(std::vector<Candidate>& all, double uniform) {
  // In the order of ids, so that the draw does not depend on which filters sorted the list.
  std::sort(all.begin(), all.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  double total = 0;
  for (const Candidate& c : all) total += c.weight;
  const double target = uniform * total;
  double sum = 0;
  int32_t last = all.front().id;
  for (const Candidate& c : all) {
    if (c.weight == 0) continue;
    sum += c.weight;
    last = c.id;
    if (target < sum) break;
  }
  return last;
}

}  // namespace

void validate(const SamplerOptions& o) {
  // Written so that NaN is refused too.
  if (!(o.temperature >= 0 && o.temperature <= 100)) {
    throw_user("temperature {} must be in [0, 100]; 0 is greedy", o.temperature);
  }
  if (o.top_k < 0) throw_user("top_k {} must be at least 0; 0 is off", o.top_k);
  if (!(o.top_p > 0 && o.top_p <= 1)) throw_user("top_p {} must be in (0, 1]; 1 is off", o.top_p);
  if (!(o.min_p >= 0 && o.min_p <= 1)) throw_user("min_p {} must be in [0, 1]; 0 is off", o.min_p);
  if (!(o.repetition_penalty > 0 && o.repetition_penalty <= 100)) {
    throw_user("repetition_penalty {} must be in (0, 100]; 1 is off", o.repetition_penalty);
  }
  for (const double penalty : {o.presence_penalty, o.frequency_penalty}) {
    if (!(std::abs(penalty) <= 100)) {
      throw_user("presence_penalty and frequency_penalty must be in [-100, 100], {} is not",
                 penalty);
    }
  }
}

float token_logprob(std::span<const float> logits, int64_t valid_vocab, int32_t id) {
  PIVOT_CHECK(id >= 0 && id < valid_vocab, "token {} of {}", id, valid_vocab);
  const auto valid = logits.first(static_cast<size_t>(valid_vocab));
  return static_cast<float>(static_cast<double>(valid[static_cast<size_t>(id)]) -
                            log_sum_exp(valid));
}

SampledToken sample_token(std::span<const float> logits, int64_t valid_vocab,
                          const SamplerOptions& options, std::span<const int32_t> context,
                          int64_t generated, uint32_t sequence) {
  PIVOT_CHECK(valid_vocab > 0 && static_cast<size_t>(valid_vocab) <= logits.size(),
              "valid vocabulary {} of {}", valid_vocab, logits.size());
  PIVOT_CHECK(generated >= 0 && static_cast<size_t>(generated) <= context.size(),
              "{} generated tokens of {}", generated, context.size());
  const auto valid = logits.first(static_cast<size_t>(valid_vocab));
  check_finite(valid);
  std::vector<float> adjusted(valid.begin(), valid.end());
  apply_penalties(adjusted, options, context, generated);

  const auto best = std::max_element(adjusted.begin(), adjusted.end());  // first one: lower id
  int32_t id = static_cast<int32_t>(best - adjusted.begin());
  if (options.temperature > 0) {
    std::vector<Candidate> all(adjusted.size());
    for (size_t i = 0; i < all.size(); ++i) {
      const double distance = static_cast<double>(adjusted[i]) - static_cast<double>(*best);
      all[i] = {static_cast<int32_t>(i), adjusted[i], std::exp(distance / options.temperature)};
    }
    if (options.top_k > 0) keep_best(all, static_cast<size_t>(options.top_k));
    keep_nucleus(all, options.top_p);
    std::erase_if(all, [&](const Candidate& c) { return c.weight < options.min_p; });
    const uint64_t bits = Philox(options.seed, Stream::Sample, sequence).bits64(context.size());
    id = draw(all, static_cast<double>(bits >> 11) * 0x1p-53);
  }
  return {id, token_logprob(logits, valid_vocab, id)};
}

}  // namespace pivot
