#include "src/decode/engine.h"

#include <cmath>

#include "src/base/check.h"
#include "tests/decode/engine_case.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

using namespace test;

// Prefill of a part of the tokens and steps for the rest give the training forward's logits.
void check_against_training(const ModelConfig& config, const std::string& spec) {
  CAPTURE(spec, config.kv_heads, config.qk_norm, config.qkv_bias, config.tied_embeddings);
  ThreadPool pool(2);
  SmallModel small(config, 8.0F);
  Engine engine(small.model(), options_for(spec, config.layers), kCpu, pool);
  const std::vector<int32_t> tokens = random_tokens(150, 5);
  std::vector<std::vector<float>> expected;
  engine.score(tokens, [&](int64_t row, const float* logits) {
    REQUIRE(row == static_cast<int64_t>(expected.size()));
    expected.emplace_back(logits, logits + engine.vocab());
  });
  REQUIRE(expected.size() == tokens.size());
  double largest = 0;
  for (const float x : expected.back()) largest = std::max(largest, std::abs(double{x}));
  REQUIRE(largest > 0.5);  // a flat model would agree with anything

  const int64_t prompt = 20;
  const int id = engine.prefill({tokens.begin(), tokens.begin() + prompt});
  CHECK(worst_difference(logits_of(engine, id), expected[prompt - 1]) < 1e-4);
  double worst = 0;
  for (size_t t = prompt; t < tokens.size(); ++t) {
    engine.step({id}, {tokens[t]});
    worst = std::max(worst, worst_difference(logits_of(engine, id), expected[t]));
  }
  // Both are fp32 sums over at most 150 keys and 3 layers, in other orders; logits are below 10.
  CHECK(worst < 2e-4);
  CHECK(engine.length(id) == 150);
}

}  // namespace

TEST_CASE("engine: prefill and steps give the training forward's logits") {
  for (const char* spec : {"dense", "topk:k=8", "topk:10%,sink=2,recent=3"}) {
    check_against_training(base_config(), spec);
    ModelConfig gqa = base_config();
    gqa.kv_heads = 2;
    gqa.qkv_bias = true;
    check_against_training(gqa, spec);
    ModelConfig normed = base_config();
    normed.kv_heads = 1;
    normed.qk_norm = true;
    normed.tied_embeddings = false;
    check_against_training(normed, spec);
  }
  ModelConfig gqa = base_config();
  gqa.kv_heads = 2;
  check_against_training(gqa, "*:topk:k=8,group=sum;0:dense");
}

TEST_CASE("engine: results do not depend on the batch, bit for bit") {
  ModelConfig config = base_config();
  config.kv_heads = 2;
  config.ffn_dim = 61;  // rows end inside a vector
  config.dim = 50;
  constexpr int kSequences = 20;  // more than one call's worth
  for (const char* spec : {"dense", "topk:k=9"}) {
    ThreadPool pool(2), single(1);
    SmallModel small(config, 8.0F);
    Engine together(small.model(), options_for(spec, config.layers, kSequences), kCpu, pool);
    std::vector<int> ids;
    for (int s = 0; s < kSequences; ++s) {
      ids.push_back(together.prefill(random_tokens(1 + 7 * s, static_cast<uint64_t>(s))));
    }
    for (int t = 0; t < 5; ++t) {
      std::vector<int32_t> tokens;
      for (int s = 0; s < kSequences; ++s) tokens.push_back((s * 5 + t) % 97);
      together.step(ids, tokens);
    }
    for (const int s : {0, 1, 7, 15, 16, 19}) {
      CAPTURE(spec, s);
      Engine alone(small.model(), options_for(spec, config.layers, 1), kCpu, single);
      const int id = alone.prefill(random_tokens(1 + 7 * s, static_cast<uint64_t>(s)));
      for (int t = 0; t < 5; ++t) alone.step({id}, {(s * 5 + t) % 97});
      CHECK(same_bits(logits_of(alone, id), logits_of(together, ids[static_cast<size_t>(s)])));
    }
  }
}

TEST_CASE("engine: forks go on as the original would, and apart from it") {
  ThreadPool pool(2);
  const ModelConfig config = base_config();
  SmallModel small(config, 8.0F);
  Engine engine(small.model(), options_for("topk:k=8", config.layers, 3), kCpu, pool);
  const int a = engine.prefill(random_tokens(70, 1));
  const int b = engine.fork(a);
  CHECK(same_bits(logits_of(engine, a), logits_of(engine, b)));
  engine.step({a, b}, {3, 4});
  CHECK_FALSE(same_bits(logits_of(engine, a), logits_of(engine, b)));
  const int c = engine.fork(a);
  engine.step({b, c, a}, {9, 11, 11});
  CHECK(same_bits(logits_of(engine, a), logits_of(engine, c)));
  engine.release(b);
  engine.release(c);
  const int again = engine.prefill(random_tokens(70, 1));
  engine.step({again}, {3});
  engine.step({again}, {11});
  CHECK(same_bits(logits_of(engine, a), logits_of(engine, again)));
}

TEST_CASE("engine: kept mass, cache size") {
  ThreadPool pool(2);
  const ModelConfig config = base_config();
  SmallModel small(config, 8.0F);
  Engine engine(small.model(), options_for("0:dense;1:topk:k=4;2:topk:100%", 3), kCpu, pool);
  CHECK(engine.kept_mass() == std::vector<double>{1, 1, 1});
  CHECK(engine.cache_bytes() == 0);
  const int id = engine.prefill(random_tokens(65, 1));
  for (int t = 0; t < 10; ++t) engine.step({id}, {t});
  const std::vector<double> mass = engine.kept_mass();
  CHECK(mass[0] == 1);
  CHECK(mass[1] > 4.0 / 75);
  CHECK(mass[1] < 0.98);
  CHECK(mass[2] == Approx(1).epsilon(1e-6));
  CHECK(engine.cache_bytes() == size_t{2} * 64 * 64 * 3 * 2 * sizeof(float));
  engine.release(id);
  CHECK(engine.cache_bytes() == 0);
}

TEST_CASE("engine: prompts and steps it cannot take are user errors and change nothing") {
  ThreadPool pool(1);
  const ModelConfig config = base_config();
  SmallModel small(config, 8.0F);
  EngineOptions options = options_for("dense", config.layers, 2);
  options.max_context = 10;
  Engine engine(small.model(), options, kCpu, pool);
  CHECK_THROWS_WITH(engine.prefill({}), ContainsSubstring("empty"));
  CHECK_THROWS_WITH(engine.prefill(random_tokens(11, 1)), ContainsSubstring("11 tokens"));
  CHECK_THROWS_WITH(engine.prefill({5, 97}), ContainsSubstring("token 97"));
  CHECK_THROWS_AS(engine.prefill({-1}), UserError);
  const int full = engine.prefill(random_tokens(10, 1));
  const int other = engine.prefill({1, 2});
  CHECK_THROWS_AS(engine.prefill({1}), UserError);
  const std::vector<float> before = logits_of(engine, other);
  CHECK_THROWS_AS(engine.step({other, full}, {1, 1}), UserError);
  CHECK_THROWS_AS(engine.step({other}, {1000}), UserError);
  CHECK(engine.length(other) == 2);
  CHECK(same_bits(before, logits_of(engine, other)));
  CHECK_THROWS_AS(engine.step({other, other}, {1, 1}), BugError);
  engine.release(full);
  CHECK_THROWS_AS(engine.logits(full), BugError);
  EngineOptions none = options;
  none.max_sequences = 0;
  CHECK_THROWS_AS(Engine(small.model(), none, kCpu, pool), UserError);
}

}  // namespace pivot
