#include "src/eval/answers.h"

#include <cmath>

#include "src/base/check.h"
#include "src/base/philox.h"
#include "src/eval/greedy_answerer.h"
#include "tests/eval/tiny_model.h"
#include "tests/support/catch.h"

using namespace pivot;
using namespace pivot::eval;

namespace {

constexpr Device kCpu{Device::Kind::Cpu, 0};

std::vector<Question> make_questions(int64_t count) {
  std::vector<Question> questions;
  for (int64_t i = 0; i < count; ++i) {
    Question q;
    q.id = i;
    q.prompt.assign(static_cast<size_t>(1 + i % 20), 'x');
    q.answers = {"no such thing", fmt::format("number {}", i)};
    questions.push_back(std::move(q));
  }
  return questions;
}

// Says what it is told to, from the last question to the first.
class Script : public Answerer {
 public:
  using Line = std::function<std::string(const Question&)>;
  explicit Script(Line line) : line_(std::move(line)) {}
  void answer(std::span<const Question> questions, const Done& done) override {
    for (size_t i = questions.size(); i-- > 0;) done(i, {line_(questions[i]), 3, i % 2 == 0});
  }

 private:
  Line line_;
};

std::vector<QuestionScore> run(Script::Line line, const std::vector<Question>& questions) {
  Script script(std::move(line));
  Progress progress("test", 1);
  return ask(script, questions, progress);
}

std::string right(const Question& q) {
  return "The Number " + std::to_string(q.id) + ".";
}

}  // namespace

TEST_CASE("a script that knows the answers is right everywhere, one that talks is not", "[eval]") {
  const auto questions = make_questions(100);
  const auto results = run(right, questions);
  CHECK(results[7].id == 7);
  CHECK(results[7].prompt_tokens == 8);
  CHECK(results[7].reply.text == "The Number 7.");
  const AnswerScores s = score(results);
  CHECK(s.exact.value == 1);
  CHECK(s.substring.value == 1);
  CHECK(s.f1.value == 1);
  CHECK(s.exact.n == 100);
  CHECK(s.tokens.value == 3);
  CHECK(s.ended.value == 0.5);

  const auto talking = run([](const Question& q) { return "I think: " + right(q); }, questions);
  CHECK(score(talking).exact.value == 0);
  CHECK(score(talking).substring.value == 1);
  CHECK(score(talking).f1.value == Approx(2 * 2.0 / 6));
  const auto silent = run([](const Question&) { return ""; }, questions);
  CHECK(score(silent).substring.value == 0);
  CHECK(score(silent).f1.value == 0);
}

TEST_CASE("a guesser is right as often as chance, and is told apart from the oracle", "[eval]") {
  const auto questions = make_questions(2000);
  const Philox random(3, Stream::Test);
  const auto guess = [&](const Question& q) {
    return random.below(4, static_cast<uint64_t>(q.id)) == 0 ? right(q) : "something else";
  };
  const auto guessed = run(guess, questions);
  const AnswerScores s = score(guessed);
  CHECK(std::abs(s.exact.value - 0.25) < 3 * s.exact.stderr_value);
  CHECK(s.exact.stderr_value == Approx(std::sqrt(0.25 * 0.75 / 2000)).epsilon(0.05));
  const AnswerComparison c = compare(run(right, questions), guessed);
  CHECK(c.exact.value == Approx(s.exact.value - 1));
  CHECK(c.exact_p < 1e-20);
  CHECK(c.substring_p < 1e-20);
  CHECK(compare(guessed, guessed).exact_p == 1);
  CHECK(compare(guessed, guessed).f1.value == 0);
}

TEST_CASE("questions of one document are one cluster, prompts fall into buckets", "[eval]") {
  auto questions = make_questions(40);
  const auto half = [](const Question& q) {
    return q.id < 20 ? right(q) : std::string("something else");
  };
  const double alone = score(run(half, questions)).exact.stderr_value;
  // Four documents of ten questions, all right or all wrong: four units, not forty.
  for (Question& q : questions) q.cluster = fmt::format("document {}", q.id / 10);
  const AnswerScores s = score(run(half, questions));
  CHECK(s.exact.value == 0.5);
  CHECK(s.exact.n == 40);
  CHECK(s.exact.stderr_value == Approx(std::sqrt(0.25 / 3)));
  CHECK(alone == Approx(std::sqrt(0.25 / 39)));

  REQUIRE(s.lengths.size() == 5);  // 1, 2-3, 4-7, 8-15, 16-20
  int64_t n = 0;
  for (const LengthBucket& b : s.lengths) n += b.exact.n;
  CHECK(n == 40);
  CHECK(s.lengths[0].from == 1);
  CHECK(s.lengths[3].from == 8);
  CHECK(s.lengths[3].to == 16);
  CHECK(s.lengths[3].exact.n == 16);
  CHECK(s.lengths[3].exact.value == 0.5);
}

TEST_CASE("greedy replies: as decoded one by one, whatever the batch", "[eval]") {
  test::TestContext ctx;
  test::TinyModel tiny("dense", ctx);
  const auto tokenizer = make_tokenizer("bytes", "");
  ThreadPool pool(2);
  std::vector<Question> questions;
  for (int64_t i = 0; i < 7; ++i) {
    questions.push_back({i, "", test::random_document(i, 1 + 5 * i, 1).tokens, {"x"}});
  }
  for (const char* spec : {"dense", "topk:k=4"}) {
    EngineOptions options{.attention = parse_layer_policies(spec, 2),
                          .prefill = parse_layer_policies("dense", 2),
                          .max_context = 64,
                          .max_sequences = 1};
    // What the replies should be: each question by itself, tokens by hand.
    std::vector<std::vector<int32_t>> wanted;
    Engine engine(tiny.model, options, kCpu, pool);
    for (const Question& q : questions) {
      int id = 0;
      if (q.prompt.size() == 1) {
        id = engine.prefill(q.prompt);
      } else {
        id = engine.prefill({q.prompt.begin(), q.prompt.end() - 1});
        engine.step({id}, {q.prompt.back()});
      }
      wanted.emplace_back();
      for (int i = 0; i < 12; ++i) {
        const float* z = engine.logits(id);
        wanted.back().push_back(static_cast<int32_t>(std::max_element(z, z + 258) - z));
        engine.step({id}, {wanted.back().back()});
      }
      engine.release(id);
    }
    // A token that ends one of them early.
    const int32_t end = wanted[3][4];
    const auto replies = [&](int side_by_side, ReplyEnd reply_end) {
      options.max_sequences = side_by_side;
      GreedyAnswerer answerer(tiny.model, options, kCpu, pool, *tokenizer, std::move(reply_end));
      std::vector<Reply> out(questions.size());
      answerer.answer(questions, [&](size_t i, Reply r) { out[i] = std::move(r); });
      CHECK(answerer.kept_mass().size() == 2);
      return out;
    };
    for (const int side_by_side : {1, 3, 20}) {
      const auto found = replies(side_by_side, {12, {end}, {}});
      for (size_t q = 0; q < questions.size(); ++q) {
        CAPTURE(spec, side_by_side, q);
        const auto at = std::find(wanted[q].begin(), wanted[q].end(), end);
        std::string text;
        StreamDecoder decoder(*tokenizer, ControlTokens::Skip);
        for (auto t = wanted[q].begin(); t != at; ++t) text += decoder.push(*t);
        CHECK(found[q].text == text + decoder.finish());
        CHECK(found[q].ended == (at != wanted[q].end()));
        CHECK(found[q].tokens == (at - wanted[q].begin()) + (at != wanted[q].end() ? 1 : 0));
      }
    }
    const std::string whole = replies(2, {12, {}, {}})[2].text;
    REQUIRE(whole.size() > 4);
    const std::string stop = whole.substr(2, 2);
    const Reply stopped = replies(2, {12, {}, {stop}})[2];
    CHECK(stopped.text == whole.substr(0, whole.find(stop)));
    CHECK(stopped.ended);
    CHECK_THROWS_AS(replies(2, {60, {}, {}}), UserError);
  }
}
