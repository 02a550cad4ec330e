#include "src/base/check.h"
#include "tests/decode/engine_case.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

using namespace test;

constexpr const char* kSpecs[] = {"dense", "topk:k=8", "topk:10%,sink=2,recent=3",
                                  "*:topk:k=8,group=sum;0:dense"};

ModelConfig grouped_config() {
  ModelConfig config = base_config();
  config.kv_heads = 2;
  return config;
}

std::vector<int32_t> part(const std::vector<int32_t>& tokens, int64_t begin, int64_t end) {
  return {tokens.begin() + begin, tokens.begin() + end};
}

}  // namespace

TEST_CASE("extend: the bits of steps, however the tokens are split") {
  const ModelConfig config = grouped_config();
  SmallModel small(config, 8.0F);
  const std::vector<int32_t> tokens = random_tokens(150, 5);
  for (const char* spec : kSpecs) {
    CAPTURE(spec);
    ThreadPool pool(2), single(1);
    Engine engine(small.model(), options_for(spec, config.layers, 2), kCpu, pool);
    const int stepped = engine.prefill(part(tokens, 0, 20));
    for (int64_t t = 20; t < 150; ++t) engine.step({stepped}, {tokens[static_cast<size_t>(t)]});
    const int once = engine.prefill(part(tokens, 0, 20));
    engine.extend(once, part(tokens, 20, 150));
    CHECK(engine.length(once) == 150);
    CHECK(same_bits(logits_of(engine, once), logits_of(engine, stepped)));

    Engine other(small.model(), options_for(spec, config.layers, 1), kCpu, single);
    const int pieces = other.prefill(part(tokens, 0, 20));
    int64_t at = 20;
    for (const int64_t end : {21, 37, 38, 64, 65, 128, 150}) {
      other.extend(pieces, part(tokens, at, end));
      at = end;
    }
    CHECK(same_bits(logits_of(other, pieces), logits_of(engine, stepped)));
  }
}

TEST_CASE("extend: the logits of a fresh prompt, up to the rounding of sums") {
  for (const char* spec : kSpecs) {
    CAPTURE(spec);
    const ModelConfig config = grouped_config();
    SmallModel small(config, 8.0F);
    ThreadPool pool(2);
    // Steps have another attention: what is extended must not.
    EngineOptions options = options_for(spec, config.layers, 2);
    options.attention = parse_layer_policies("topk:k=1", config.layers);
    Engine engine(small.model(), options, kCpu, pool);
    const std::vector<int32_t> tokens = random_tokens(150, 6);
    const int whole = engine.prefill(tokens);
    const int grown = engine.prefill(part(tokens, 0, 70));
    engine.extend(grown, part(tokens, 70, 150));
    // As in engine_test.cc: fp32 sums of at most 150 terms and 3 layers in another order.
    CHECK(worst_difference(logits_of(engine, whole), logits_of(engine, grown)) < 2e-4);
    engine.step({whole, grown}, {1, 1});
    CHECK(worst_difference(logits_of(engine, whole), logits_of(engine, grown)) < 2e-4);
  }
}

TEST_CASE("truncate: as if the tokens had never been there, bit for bit") {
  const ModelConfig config = grouped_config();
  SmallModel small(config, 8.0F);
  const std::vector<int32_t> tokens = random_tokens(120, 7);
  const std::vector<int32_t> wrong = random_tokens(80, 8);
  for (const char* spec : {"dense", "topk:k=8"}) {
    ThreadPool pool(2);
    Engine engine(small.model(), options_for(spec, config.layers, 2), kCpu, pool);
    for (const int64_t cut : {1, 63, 64, 65, 90}) {
      CAPTURE(spec, cut);
      const int straight = engine.prefill(part(tokens, 0, 90));
      engine.truncate(straight, cut);
      const int detour = engine.fork(straight);
      engine.extend(straight, part(tokens, cut, 120));
      engine.extend(detour, wrong);
      engine.step({detour}, {3});
      engine.truncate(detour, cut);
      engine.extend(detour, part(tokens, cut, 120));
      CHECK(same_bits(logits_of(engine, straight), logits_of(engine, detour)));
      engine.release(straight);
      engine.release(detour);
    }
    CHECK(engine.cache_bytes() == 0);
  }
}

TEST_CASE("truncate and extend leave forks alone that share the pages") {
  const ModelConfig config = grouped_config();
  SmallModel small(config, 8.0F);
  ThreadPool pool(2);
  Engine engine(small.model(), options_for("topk:k=8", config.layers, 3), kCpu, pool);
  const std::vector<int32_t> tokens = random_tokens(100, 9);
  const int original = engine.prefill(tokens);
  const int alone = engine.prefill(tokens);
  const int fork = engine.fork(original);
  engine.truncate(fork, 70);  // inside a page that both have
  engine.extend(fork, random_tokens(40, 10));
  CHECK(engine.length(original) == 100);
  engine.step({original, alone}, {5, 5});
  CHECK(same_bits(logits_of(engine, original), logits_of(engine, alone)));
  engine.truncate(original, 70);
  engine.truncate(alone, 70);
  engine.extend(original, {1, 2, 3});
  engine.extend(alone, {1, 2, 3});
  CHECK(same_bits(logits_of(engine, original), logits_of(engine, alone)));
  CHECK_FALSE(same_bits(logits_of(engine, original), logits_of(engine, fork)));
}

TEST_CASE("extend and truncate: what cannot be is refused and changes nothing") {
  const ModelConfig config = base_config();
  SmallModel small(config, 8.0F);
  ThreadPool pool(1);
  EngineOptions options = options_for("dense", config.layers, 1);
  options.max_context = 10;
  Engine engine(small.model(), options, kCpu, pool);
  const int id = engine.prefill({1, 2, 3, 4, 5, 6, 7});
  const std::vector<float> before = logits_of(engine, id);
  CHECK_THROWS_AS(engine.extend(id, {}), UserError);
  CHECK_THROWS_WITH(engine.extend(id, {1, 97}), ContainsSubstring("token 97"));
  CHECK_THROWS_WITH(engine.extend(id, {1, 2, 3, 4}), ContainsSubstring("11 tokens"));
  CHECK(engine.length(id) == 7);
  CHECK(same_bits(before, logits_of(engine, id)));
  engine.truncate(id, 7);
  CHECK(same_bits(before, logits_of(engine, id)));
  engine.truncate(id, 3);
  CHECK_THROWS_AS(engine.logits(id), BugError);  // not those of the tokens that are gone
  CHECK_THROWS_AS(engine.truncate(id, 4), BugError);
  engine.truncate(id, 0);
  engine.extend(id, {1, 2, 3, 4, 5, 6, 7});
  CHECK(worst_difference(before, logits_of(engine, id)) < 1e-4);
}

TEST_CASE("engine: whether prompts and steps have the same attention; kept mass begins anew") {
  const ModelConfig config = base_config();
  SmallModel small(config, 8.0F);
  ThreadPool pool(1);
  Engine same(small.model(), options_for("topk:k=4", config.layers), kCpu, pool);
  CHECK(same.same_attention());
  const int id = same.prefill(random_tokens(50, 1));
  same.extend(id, {1, 2, 3});
  CHECK(same.kept_mass()[0] == 1);  // prompts do not count
  same.step({id}, {1});
  CHECK(same.kept_mass()[0] < 0.98);
  same.restart_kept_mass();
  CHECK(same.kept_mass()[0] == 1);
  EngineOptions options = options_for("topk:k=4", config.layers);
  options.prefill = parse_layer_policies("*:topk:k=4;1:dense", config.layers);
  CHECK_FALSE(Engine(small.model(), options, kCpu, pool).same_attention());
}

}  // namespace pivot
