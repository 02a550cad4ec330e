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

TEST_CASE("generate: any of the end ids ends a sample; others do not") {
  Fixture f;
  GenerateOptions o = greedy(50);
  o.end_ids = {'m', 'k'};
  const GenerateResult r = f.run("h", o);
  CHECK(r.samples[0].text == "ij");
  CHECK(r.samples[0].ids == std::vector<int32_t>{'i', 'j', 'k'});
  CHECK(r.samples[0].finish == Finish::Eos);
  CHECK(f.streamed == "ij");
  // The end of the text is one only where it is named: 'z' is followed by it, it by byte 2.
  const GenerateResult past = f.run("w", o);
  CHECK(past.samples[0].ids[3] == f.tokenizer->eos());
  CHECK(past.samples[0].ids.size() == 50);
  CHECK(past.samples[0].finish == Finish::Length);
}

TEST_CASE("generate: the text of control tokens is shown only when asked for") {
  // Shows its control tokens, as tokenizers of Hugging Face do.
  class Shown : public Tokenizer {
   public:
    int64_t vocab() const override { return bytes_->vocab(); }
    std::vector<int32_t> encode(std::string_view t) const override { return bytes_->encode(t); }
    std::string decode(std::span<const int32_t> ids) const override {
      std::string text;
      for (const int32_t id : ids)
        text += id < 256 ? std::string(1, static_cast<char>(id)) : "</s>";
      return text;
    }
    int32_t bos() const override { return -1; }
    int32_t eos() const override { return bytes_->eos(); }
    int32_t unk() const override { return -1; }
    std::string piece(int32_t id) const override { return bytes_->piece(id); }
    std::string kind() const override { return "shown"; }
    const std::string& model_bytes() const override { return bytes_->model_bytes(); }
    int32_t token_bytes(int32_t id) const override { return bytes_->token_bytes(id); }

   private:
    std::unique_ptr<Tokenizer> bytes_ = make_tokenizer("bytes", "");
  };
  Fixture f;
  f.tokenizer = std::make_unique<Shown>();
  GenerateOptions o = greedy(5);
  o.end_ids = {'#'};
  CHECK(f.run("x", o).samples[0].text == "yz\2\3");
  o.control = ControlTokens::Show;
  CHECK(f.run("x", o).samples[0].text == "yz</s>\2\3");
}

TEST_CASE("generate: a turn in a cache gives what a fresh prompt gives") {
  Fixture f;
  PromptCache cache(f.engine);
  const auto turn = [&](const std::string& prompt, const GenerateOptions& o) {
    return generate(f.engine, cache, *f.tokenizer, f.tokenizer->encode(prompt), o);
  };
  GenerateResult r = turn("abc", greedy(5));
  CHECK(r.samples[0].text == "defgh");
  CHECK(r.timing.reused_tokens == 0);
  CHECK(f.engine.length(cache.sequence()) == 7);  // the last token was sampled, not seen
  r = turn("abcdefgh,a", greedy(3));
  CHECK(r.samples[0].text == "bcd");
  CHECK(r.timing.reused_tokens == 7);
  CHECK(r.timing.prompt_tokens == 10);
  GenerateOptions o = greedy(50);
  o.end_ids = {'e'};
  r = turn("abcdefgh,ab", o);  // the last turn's beginning, taken back
  CHECK(r.samples[0].text == "cd");
  CHECK(r.timing.reused_tokens == 10);
  CHECK(r.samples[0].logprobs == f.run("abcdefgh,ab", o).samples[0].logprobs);
  CHECK(turn("abcdefgh,ab" + std::string(47, '0'), greedy(50)).samples[0].finish ==
        Finish::Context);
  CHECK_THROWS_AS(turn(std::string(65, 'x'), greedy(5)), UserError);
  CHECK(turn("m", greedy(2)).samples[0].text == "no");
  o.samples = 2;
  CHECK_THROWS_AS(turn("m", o), BugError);
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
