#include "src/decode/sampler.h"

#include <cmath>
#include <map>

#include "src/base/check.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  double total = 0;
  for (const float x : logits) total += p.emplace_back(std::exp(double{x} / temperature));
  for (double& x : p) x /= total;
  return p;
}

// Draws with as many sequence numbers.
std::map<int32_t, int> draw(const std::vector<float>& logits, const SamplerOptions& options,
                            int draws, const std::vector<int32_t>& context = {1},
                            int64_t generated = 0) {
  std::map<int32_t, int> count;
  for (int i = 0; i < draws; ++i) {
    ++count[sample_token(logits, static_cast<int64_t>(logits.size()), options, context, generated,
                         static_cast<uint32_t>(i))
                .id];
  }
  return count;
}

// Pearson's chi-square has mean and half its variance equal to the degrees of freedom f; 6 standard
// deviations above the mean have a probability below 1e-5 for the f used here.
void check_distribution(const std::map<int32_t, int>& count, const std::map<int32_t, double>& p,
                        int draws) {
  double chi2 = 0;
  int seen = 0;
  for (const auto& [id, probability] : p) {
    const double expected = probability * draws;
    const auto it = count.find(id);
    const int got = it == count.end() ? 0 : it->second;
    seen += got;
    chi2 += (got - expected) * (got - expected) / expected;
  }
  const double freedom = static_cast<double>(p.size()) - 1;
  CAPTURE(chi2, freedom);
  CHECK(chi2 < freedom + 6 * std::sqrt(2 * freedom));
  CHECK(seen == draws);  // nothing outside the allowed tokens
}

std::map<int32_t, double> renormalised(const std::vector<double>& p,
                                       const std::vector<int32_t>& ids) {
  double total = 0;
  for (const int32_t id : ids) total += p[static_cast<size_t>(id)];
  std::map<int32_t, double> out;
  for (const int32_t id : ids) out[id] = p[static_cast<size_t>(id)] / total;
  return out;
}

const std::vector<float> kLogits = {0.1F, 2.0F, -1.0F, 1.5F, 1.5F, 0.7F, -3.0F, 0.0F};

}  // namespace

TEST_CASE("sampler: greedy takes the best token, ties the lower id, with its log-probability") {
  const SamplerOptions greedy{.temperature = 0};
  const std::vector<float> logits = {1, 3, 0, 3};
  const SampledToken token = sample_token(logits, 4, greedy, {}, 0, 0);
  CHECK(token.id == 1);
  CHECK(token.logprob == Approx(std::log(softmax(logits, 1)[1])).epsilon(1e-6));
  CHECK(sample_token(logits, 1, greedy, {}, 0, 0).id == 0);  // the rest is padding
  CHECK(token_logprob(logits, 4, 2) == Approx(std::log(softmax(logits, 1)[2])).epsilon(1e-6));
}

TEST_CASE("sampler: draws follow the tempered softmax and the filters") {
  constexpr int kDraws = 20000;
  SamplerOptions o{.temperature = 1.3};
  const std::vector<double> p = softmax(kLogits, 1.3);
  check_distribution(draw(kLogits, o, kDraws), renormalised(p, {0, 1, 2, 3, 4, 5, 6, 7}), kDraws);
  SECTION("top-k cuts ties by the lower id") {
    o.top_k = 2;
    check_distribution(draw(kLogits, o, kDraws), renormalised(p, {1, 3}), kDraws);
  }
  SECTION("top-p keeps the smallest set that reaches the share") {
    o.top_p = p[1] + p[3] + 1e-9;
    check_distribution(draw(kLogits, o, kDraws), renormalised(p, {1, 3, 4}), kDraws);
    o.top_p = p[1] + p[3] - 1e-9;
    check_distribution(draw(kLogits, o, kDraws), renormalised(p, {1, 3}), kDraws);
    o.top_p = 1e-6;
    CHECK(draw(kLogits, o, 100).size() == 1);
  }
  SECTION("top-p counts the probability that top-k left") {
    o.top_k = 3;
    o.top_p = (p[1] + p[3]) / (p[1] + p[3] + p[4]) - 1e-9;
    check_distribution(draw(kLogits, o, kDraws), renormalised(p, {1, 3}), kDraws);
  }
  SECTION("min-p is relative to the best token") {
    o.min_p = p[5] / p[1] - 1e-9;
    check_distribution(draw(kLogits, o, kDraws), renormalised(p, {1, 3, 4, 5}), kDraws);
  }
}

TEST_CASE("sampler: penalties") {
  SamplerOptions o{.temperature = 0};
  const std::vector<float> logits = {2.0F, 1.9F, -1.0F, 1.0F};
  const auto best = [&](std::vector<int32_t> context, int64_t generated) {
    return sample_token(logits, 4, o, context, generated, 0).id;
  };
  CHECK(best({0, 0}, 2) == 0);
  SECTION("repetition: prompt and output, once per token, divides positive logits") {
    o.repetition_penalty = 1.5;
    CHECK(best({0}, 0) == 1);
    CHECK(best({0, 1}, 0) == 0);
    CHECK(best({0, 0, 0, 1}, 0) == 0);  // 2 / 1.5, however often
  }
  SECTION("repetition multiplies negative logits") {
    o.repetition_penalty = 3;
    const std::vector<float> negative = {-1.0F, -2.0F};
    CHECK(sample_token(negative, 2, o, std::vector<int32_t>{0}, 0, 0).id == 1);
  }
  SECTION("presence: generated tokens only, once") {
    o.presence_penalty = 0.5;
    CHECK(best({0}, 0) == 0);
    CHECK(best({0}, 1) == 1);
    CHECK(best({0, 1, 1}, 3) == 0);
  }
  SECTION("frequency: per occurrence among the generated") {
    o.frequency_penalty = 0.3;
    CHECK(best({0, 0, 0, 0}, 0) == 0);
    CHECK(best({1, 0}, 1) == 1);
    CHECK(best({0, 1, 1}, 3) == 0);
  }
  SECTION("the log-probability stays the model's own") {
    o.presence_penalty = 50;
    const SampledToken t = sample_token(logits, 4, o, std::vector<int32_t>{0}, 1, 0);
    CHECK(t.id == 1);
    CHECK(t.logprob == Approx(std::log(softmax(logits, 1)[1])).epsilon(1e-6));
  }
}

TEST_CASE("sampler: a draw is a function of seed, sequence and position") {
  SamplerOptions o{.temperature = 1};
  const auto token = [&](uint64_t seed, uint32_t sequence, size_t position) {
    o.seed = seed;
    return sample_token(kLogits, 8, o, std::vector<int32_t>(position, 0), 0, sequence).id;
  };
  int by_seed = 0, by_sequence = 0, by_position = 0;
  for (uint32_t i = 0; i < 64; ++i) {
    CHECK(token(5, i, 9) == token(5, i, 9));
    by_seed += token(5, i, 9) != token(6, i, 9) ? 1 : 0;
    by_sequence += token(5, i, 9) != token(5, i + 64, 9) ? 1 : 0;
    by_position += token(5, i, 9) != token(5, i, 10) ? 1 : 0;
  }
  CHECK(by_seed > 16);
  CHECK(by_sequence > 16);
  CHECK(by_position > 16);
}

TEST_CASE("sampler: bad options and damaged logits are refused") {
  const auto refused = [](auto&& change) {
    SamplerOptions o;
    change(o);
    CHECK_THROWS_AS(validate(o), UserError);
  };
  validate({});
  refused([](SamplerOptions& o) { o.temperature = -0.1; });
  refused([](SamplerOptions& o) { o.temperature = NAN; });
  refused([](SamplerOptions& o) { o.top_k = -1; });
  refused([](SamplerOptions& o) { o.top_p = 0; });
  refused([](SamplerOptions& o) { o.top_p = 1.1; });
  refused([](SamplerOptions& o) { o.min_p = -1; });
  refused([](SamplerOptions& o) { o.repetition_penalty = 0; });
  refused([](SamplerOptions& o) { o.frequency_penalty = 1e9; });
  const std::vector<float> bad = {1, NAN};
  CHECK_THROWS_WITH(sample_token(bad, 2, {}, {}, 0, 0), ContainsSubstring("NaN"));
  const std::vector<float> masked = {-INFINITY, 0.5F, -INFINITY};
  CHECK(draw(masked, {}, 50).size() == 1);
}

}  // namespace pivot
