#include <algorithm>
#include <cmath>

#include "src/eval/corpus.h"
#include "src/eval/perplexity.h"
#include "src/eval/retrieval.h"
#include "tests/eval/stand_ins.h"
#include "tests/support/catch.h"

using namespace pivot;
using namespace pivot::eval;

namespace {

constexpr int32_t kFirst = 40;  // answers are tokens [kFirst, kFirst + choices)

// Documents of two answers, one of one token and one of two, at rows that vary.
std::vector<EvalDocument> make_documents(int64_t count, int32_t choices) {
  const Philox random(11, Stream::Test);
  std::vector<EvalDocument> documents;
  for (int64_t d = 0; d < count; ++d) {
    EvalDocument document;
    document.id = d;
    document.tokens.assign(static_cast<size_t>(12 + d % 7), 3);
    document.targets.assign(document.tokens.size(), kNoTarget);
    const auto pick = [&](uint64_t i) {
      const auto at = static_cast<uint64_t>(d) * 8 + i;
      return kFirst + static_cast<int32_t>(random.below(static_cast<uint64_t>(choices), at));
    };
    document.targets[2] = pick(0);
    document.targets[7] = pick(1);
    document.targets[8] = pick(2);
    documents.push_back(std::move(document));
  }
  return documents;
}

// Rows of plain text: every token but the last of a document is asked for.
class TextCorpus : public Corpus {
 public:
  int64_t size() const override { return 20; }
  std::string tokenizer_hash() const override { return "x"; }
  int64_t vocab() const override { return 8; }
  Item item(int64_t index) const override {
    Item out;
    for (const int64_t length : {int64_t{5}, 3 + index % 4}) {
      EvalDocument d;
      d.id = index;
      d.tokens.assign(static_cast<size_t>(length), 1);
      d.targets.assign(d.tokens.size(), 2);
      d.targets.back() = kNoTarget;
      out.bytes += 3 * (length - 1);
      out.documents.push_back(d);
    }
    return out;
  }
};

}  // namespace

TEST_CASE("the oracle is right everywhere", "[eval]") {
  test::Oracle oracle;
  const RetrievalTask task{make_documents(200, 4)};
  Progress progress("test", 1);
  const auto results = task.run(oracle, progress);
  REQUIRE(results.size() == 200);
  CHECK(oracle.calls > 10);  // in batches
  for (const DocumentAnswers& d : results) {
    REQUIRE(d.answers.size() == 2);
    CHECK(d.answers[0].wanted.size() == 1);
    CHECK(d.answers[1].wanted.size() == 2);
    CHECK(d.answers[1].row == 7);
  }
  const RetrievalScores s = score(results);
  CHECK(s.answers.value == 1);
  CHECK(s.tokens.value == 1);
  CHECK(s.documents.value == 1);
  CHECK(s.answers.n == 400);
  CHECK(s.tokens.n == 600);
  CHECK(s.loss.value == 0);
}

TEST_CASE("the guesser is right as often as chance, within its standard error", "[eval]") {
  constexpr int32_t kChoices = 4;
  test::Guesser guesser(kFirst, kChoices, 5);
  const RetrievalTask task{make_documents(3000, kChoices)};
  Progress progress("test", 1);
  const RetrievalScores s = score(task.run(guesser, progress));
  CAPTURE(s.tokens.value, s.tokens.stderr_value, s.answers.value, s.answers.stderr_value);
  CHECK(std::abs(s.tokens.value - 0.25) < 3 * s.tokens.stderr_value);
  // Half of the answers have one token, half have two.
  const double chance = (0.25 + 0.0625) / 2;
  CHECK(std::abs(s.answers.value - chance) < 3 * s.answers.stderr_value);
  CHECK(std::abs(s.documents.value - 0.25 * 0.0625) < 3 * s.documents.stderr_value);
  CHECK(s.tokens.stderr_value == Approx(std::sqrt(0.25 * 0.75 / 9000)).epsilon(0.1));
  CHECK(s.loss.value == Approx(std::log(4.0)));
}

TEST_CASE("oracle and guesser are told apart, two guessers are not", "[eval]") {
  const RetrievalTask task{make_documents(300, 4)};
  Progress progress("test", 1);
  test::Oracle oracle;
  test::Guesser one(kFirst, 4, 1), two(kFirst, 4, 2);
  const auto right = task.run(oracle, progress);
  const auto guess = task.run(one, progress);
  const auto other = task.run(two, progress);
  const RetrievalComparison c = compare(right, guess);
  CHECK(c.difference.value < -0.7);
  CHECK(c.only_b == 0);
  CHECK(c.mcnemar_p < 1e-20);
  CHECK(compare(guess, other).mcnemar_p > 0.01);
  CHECK(compare(guess, guess).mcnemar_p == 1);
}

TEST_CASE("a broken prediction is wrong, not token 0", "[eval]") {
  const float nan = std::nanf("");
  const std::vector<float> broken = {1, nan, 2};
  CHECK(read_logits(broken, 2).token == -1);
  CHECK(std::isnan(read_logits(broken, 2).logprob));
  const std::vector<float> ties = {1, 3, 3, 0};
  CHECK(read_logits(ties, 0).token == 1);
  CHECK(read_logits(ties, 1).logprob ==
        Approx(3 - std::log(std::exp(1.0) + 2 * std::exp(3.0) + 1)));
  const std::vector<float> large = {1000, 0};
  CHECK(read_logits(large, 1).logprob == Approx(-1000));
}

TEST_CASE("perplexity of a uniform guess is the number of choices", "[eval]") {
  const TextCorpus corpus;
  test::Guesser guesser(0, 8, 1);
  Progress progress("test", 1);
  const PerplexityTask task{corpus, choose_items(corpus.size(), 0, 0), 0};
  const PerplexityResult result = task.run(guesser, progress);
  const PerplexityScores s = score(result);
  int64_t tokens = 0, bytes = 0;
  for (int64_t i = 0; i < corpus.size(); ++i) {
    const Item item = corpus.item(i);
    bytes += item.bytes;
    for (const EvalDocument& d : item.documents)
      tokens += static_cast<int64_t>(d.tokens.size()) - 1;
  }
  CHECK(s.loss.n == tokens);
  CHECK(s.perplexity.value == Approx(8));
  CHECK(s.loss.stderr_value == Approx(0).margin(1e-9));
  CHECK(s.bits_per_byte.value ==
        Approx(3.0 * static_cast<double>(tokens) / static_cast<double>(bytes)));
  CHECK(result.items.size() == 20);
  int64_t in_buckets = 0;
  for (const PositionBucket& b : result.buckets) in_buckets += b.n;
  CHECK(in_buckets == tokens);
  REQUIRE(result.buckets.size() == 4);
  CHECK(result.buckets[0].n == 40);  // row 0 of every document
  CHECK(result.buckets[3].from == 4);
  CHECK(result.buckets[3].to == 8);
}

TEST_CASE("a prefix is context only", "[eval]") {
  const TextCorpus corpus;
  test::Guesser guesser(0, 8, 1);
  Progress progress("test", 1);
  const PerplexityTask task{corpus, {0, 1, 2}, 3};
  const PerplexityResult result = task.run(guesser, progress);
  // Documents of 5 and 3 + i tokens: the first asked row is 2, which predicts token 3.
  CHECK(score(result).loss.n == 3 * 2 + 0 + 1 + 2);
  CHECK(result.buckets[0].n == 0);
  CHECK(score(result).bits_per_byte.n == 0);
}

TEST_CASE("rows fall into buckets of doubling width", "[eval]") {
  CHECK(position_bucket(0) == 0);
  CHECK(position_bucket(1) == 1);
  CHECK(position_bucket(2) == 2);
  CHECK(position_bucket(3) == 2);
  CHECK(position_bucket(4) == 3);
  CHECK(position_bucket(1023) == 10);
}

TEST_CASE("a limit takes a sample that depends on the seed alone", "[eval]") {
  const auto all = choose_items(10, 0, 1);
  CHECK(all.size() == 10);
  const auto some = choose_items(1000, 50, 1);
  CHECK(some.size() == 50);
  CHECK(std::is_sorted(some.begin(), some.end()));
  CHECK(std::adjacent_find(some.begin(), some.end()) == some.end());
  CHECK(some.back() >= 500);
  CHECK(some == choose_items(1000, 50, 1));
  CHECK(some != choose_items(1000, 50, 2));
  CHECK(choose_items(10, 50, 1) == all);
}
