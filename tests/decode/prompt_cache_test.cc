#include "src/decode/prompt_cache.h"

#include "src/base/check.h"
#include "src/decode/generate.h"
#include "tests/decode/engine_case.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

using namespace test;

std::vector<int32_t> joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Fixture {
  ModelConfig config = base_config();
  SmallModel small{config, 8.0F};
  ThreadPool pool{2};
  Engine engine;
  PromptCache cache{engine};
  Engine fresh;

  Fixture(const std::string& attention, const std::string& prefill)
      : engine(small.model(), options(attention, prefill), kCpu, pool),
        fresh(small.model(), options(attention, prefill), kCpu, pool) {}

  EngineOptions options(const std::string& attention, const std::string& prefill) const {
    EngineOptions o = options_for(attention, config.layers, 1);
    o.prefill = parse_layer_policies(prefill, config.layers);
    return o;
  }

  void step(const std::vector<int32_t>& tokens) {
    for (const int32_t token : tokens) engine.step({cache.sequence()}, {token});
    cache.decoded(tokens);
  }

  // The cache's logits are those of the prompt run anew.
  void check(const std::vector<int32_t>& prompt) {
    const int id = fresh.prefill(prompt);
    CHECK(worst_difference(logits_of(engine, cache.sequence()), logits_of(fresh, id)) < 2e-4);
    CHECK(engine.length(cache.sequence()) == static_cast<int64_t>(prompt.size()));
    fresh.release(id);
  }
};

}  // namespace

TEST_CASE("prompt cache: turns are continued, and are what a fresh prompt gives") {
  for (const auto& [attention, prefill] :
       {std::pair{"dense", "dense"}, {"topk:k=8", "topk:k=8"}, {"topk:k=2", "dense"}}) {
    CAPTURE(attention, prefill);
    Fixture f(attention, prefill);
    const std::vector<int32_t> first = random_tokens(80, 1);
    CHECK(f.cache.run(first, {}));
    CHECK(f.cache.reused() == 0);
    f.check(first);
    f.step({1, 2, 3});
    const std::vector<int32_t> second = joined(joined(first, {1, 2, 3}), random_tokens(20, 2));
    CHECK(f.cache.run(second, {}));
    // Keys of answers that another attention decoded are not those of a prompt.
    CHECK(f.cache.reused() == (std::string(attention) == prefill ? 83 : 80));
    f.check(second);
    // The same again: the last token gives the logits.
    CHECK(f.cache.run(second, {}));
    CHECK(f.cache.reused() == 102);
    f.check(second);
    // Taken back, and another way on.
    const std::vector<int32_t> third = joined(first, {9, 9, 9});
    CHECK(f.cache.run(third, {}));
    CHECK(f.cache.reused() == 80);
    f.check(third);
    // Shorter than what is held.
    CHECK(f.cache.run(random_tokens(40, 1), {}));
    CHECK(f.cache.reused() == 39);
    f.check(random_tokens(40, 1));
    // Little or nothing in common: prefilled.
    const std::vector<int32_t> other = joined(random_tokens(10, 1), random_tokens(60, 4));
    CHECK(f.cache.run(other, {}));
    CHECK(f.cache.reused() == 0);
    f.check(other);
    f.cache.clear();
    CHECK(f.cache.sequence() == -1);
    CHECK(f.engine.cache_bytes() == 0);
  }
}

TEST_CASE("prompt cache: stopped between pieces, it knows what it holds") {
  Fixture f("dense", "dense");
  std::vector<int32_t> prompt = random_tokens(199, 1);
  CHECK(f.cache.run({prompt.begin(), prompt.begin() + 70}, {}));
  int asked = 0;
  CHECK_FALSE(f.cache.run({prompt.begin(), prompt.begin() + 100}, [] { return true; }));
  CHECK(f.engine.length(f.cache.sequence()) == 70);
  prompt.resize(200, 1);
  CHECK(f.cache.run({prompt.begin(), prompt.begin() + 70}, {}));
  CHECK_FALSE(f.cache.run({prompt.begin(), prompt.begin() + 105}, [] { return true; }));
  CHECK(f.cache.run({prompt.begin(), prompt.begin() + 105}, [&] { return ++asked > 1; }));
  f.check({prompt.begin(), prompt.begin() + 105});
}

TEST_CASE("prompt cache: bad prompts are refused, the next one is taken") {
  Fixture f("dense", "dense");
  CHECK(f.cache.run(random_tokens(50, 1), {}));
  CHECK_THROWS_AS(f.cache.run({}, {}), UserError);
  CHECK_THROWS_AS(f.cache.run(random_tokens(201, 1), {}), UserError);
  CHECK_THROWS_AS(f.cache.run(joined(random_tokens(50, 1), {97}), {}), UserError);
  CHECK(f.cache.run(random_tokens(60, 1), {}));
  f.check(random_tokens(60, 1));
}

}  // namespace pivot
