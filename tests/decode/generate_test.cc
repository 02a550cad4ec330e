#include "src/decode/generate.h"

#include <cmath>

#include "src/base/check.h"
#include "tests/decode/small_model.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

constexpr Device kCpu{Device::Kind::Cpu, 0};

struct Fixture {
  ThreadPool pool{2};
  std::unique_ptr<test::SmallModel> small = test::counting_model();
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("bytes", "");
  Engine engine{small->model(),
                {.attention = {AttentionPolicy{}},
                 .prefill = {AttentionPolicy{}},
                 .max_context = 0,
                 .max_sequences = 4},
                kCpu,
                pool};
  std::string streamed;

  GenerateResult run(const std::string& prompt, const GenerateOptions& options) {
    return generate(engine, *tokenizer, tokenizer->encode(prompt), options,
                    [&](int, std::string_view text) { streamed += text; });
  }
};

GenerateOptions greedy(int64_t tokens, std::vector<std::string> stop = {}) {
  return {.sampler = {.temperature = 0}, .max_tokens = tokens, .samples = 1, .stop = stop};
}

}  // namespace

TEST_CASE("generate: greedy text, its log-probabilities, length limit") {
  Fixture f;
  const GenerateResult r = f.run("a", greedy(5));
  REQUIRE(r.samples.size() == 1);
  CHECK(r.samples[0].text == "bcdef");
  CHECK(r.samples[0].ids == std::vector<int32_t>{'b', 'c', 'd', 'e', 'f'});
  CHECK(r.samples[0].finish == Finish::Length);
  CHECK(f.streamed == "bcdef");
  // One logit is that of a normed one-hot vector, the other 257 of the tokenizer's are 0.
  const double logit = 1 / std::sqrt(1 / 264.0 + 1e-5);
  CHECK(r.samples[0].logprobs[2] == Approx(-257 * std::exp(-logit)).epsilon(1e-3));
  CHECK(r.timing.prompt_tokens == 1);
  CHECK(r.timing.decoded_tokens == 5);
  CHECK(f.engine.cache_bytes() == 0);
}

TEST_CASE("generate: end of text, stop strings across tokens, full context") {
  Fixture f;
  SECTION("end of text") {
    const GenerateResult r = f.run("w", greedy(50));
    CHECK(r.samples[0].text == "xyz");
    CHECK(r.samples[0].finish == Finish::Eos);
    CHECK(r.samples[0].ids.back() == f.tokenizer->eos());
  }
  SECTION("stop string") {
    const GenerateResult r = f.run("a", greedy(50, {"xyz", "fgh"}));
    CHECK(r.samples[0].text == "bcde");
    CHECK(r.samples[0].finish == Finish::Stop);
    CHECK(r.samples[0].ids.size() == 7);
    CHECK(f.streamed == "bcde");
  }
  SECTION("a stop string that only begins is given out at the end") {
    CHECK(f.run("a", greedy(5, {"efX"})).samples[0].text == "bcdef");
    CHECK(f.streamed == "bcdef");
  }
  SECTION("context") {
    const GenerateResult r = f.run(std::string(60, '0'), greedy(50));
    CHECK(r.samples[0].finish == Finish::Context);
    CHECK(r.samples[0].ids.size() == 5);  // 60 + 4 tokens were seen, the fifth was sampled last
  }
}

TEST_CASE("generate: text is valid UTF-8 whatever bytes come") {
  Fixture f;
  const GenerateResult r = f.run("\x7e", greedy(4));  // 7f 80 81 82: three stray continuation bytes
  CHECK(r.samples[0].text == "\x7f\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(f.streamed == r.samples[0].text);
}

TEST_CASE("generate: samples differ, repeat with the seed and do not depend on their number") {
  Fixture f;
  GenerateOptions o{
      .sampler = {.temperature = 20, .seed = 3}, .max_tokens = 12, .samples = 4, .stop = {}};
  const GenerateResult four = f.run("a", o);
  const GenerateResult again = f.run("a", o);
  o.samples = 2;
  const GenerateResult two = f.run("a", o);
  REQUIRE(four.samples.size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(four.samples[i].ids == again.samples[i].ids);
    CHECK(four.samples[i].logprobs == again.samples[i].logprobs);
    if (i < 2) CHECK(four.samples[i].logprobs == two.samples[i].logprobs);
    for (const int32_t id : four.samples[i].ids) CHECK(id < f.tokenizer->vocab());
  }
  CHECK(four.samples[0].ids != four.samples[1].ids);
  o.sampler.seed = 4;
  CHECK(f.run("a", o).samples[0].ids != four.samples[0].ids);
}

TEST_CASE("generate: bad options") {
  Fixture f;
  CHECK_THROWS_AS(f.run("a", greedy(0)), UserError);
  CHECK_THROWS_AS(f.run("a", greedy(3, {""})), UserError);
  CHECK_THROWS_AS(f.run("", greedy(3)), UserError);
  GenerateOptions many = greedy(3);
  many.samples = 5;
  CHECK_THROWS_AS(f.run("a", many), UserError);
  CHECK(f.engine.cache_bytes() == 0);  // nothing is left behind
  many.samples = 0;
  CHECK_THROWS_AS(f.run("a", many), UserError);
}

}  // namespace pivot
