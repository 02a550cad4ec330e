// The model as a predictor: training path and decoder must agree.
#include <cmath>
#include <vector>

#include "src/base/check.h"
#include "src/eval/decoding_path.h"
#include "src/eval/training_path.h"
#include "tests/eval/tiny_model.h"
#include "tests/support/catch.h"

using namespace pivot;
using namespace pivot::eval;
using Predictions = std::vector<std::vector<Prediction>>;

namespace {

constexpr Device kCpu{Device::Kind::Cpu, 0};
constexpr double kTolerance = 2e-4;  // nats: sums of a few hundred products in another order

std::vector<EvalDocument> documents() {
  return {test::random_document(0, 40, 3), test::random_document(1, 7, 1),
          test::random_document(2, 64, 5), test::random_document(3, 3, 9),  // asks nothing
          test::random_document(4, 33, 2), test::random_document(5, 2, 1)};
}

void check_close(const Predictions& a, const Predictions& b) {
  REQUIRE(a.size() == b.size());
  for (size_t d = 0; d < a.size(); ++d) {
    REQUIRE(a[d].size() == b[d].size());
    for (size_t i = 0; i < a[d].size(); ++i) {
      CAPTURE(d, i);
      CHECK(a[d][i].token == b[d][i].token);
      CHECK(a[d][i].logprob == Approx(b[d][i].logprob).margin(kTolerance));
    }
  }
}

EngineOptions engine(const Model& model, const char* attention, const char* prefill,
                     int sequences) {
  return {.attention = parse_layer_policies(attention, model.config.layers),
          .prefill = parse_layer_policies(prefill, model.config.layers),
          .max_context = 64,
          .max_sequences = sequences};
}

}  // namespace

TEST_CASE("losses of the training path are those of its logits", "[eval]") {
  test::TestContext ctx;
  for (const char* spec : {"dense", "topk:k=4"}) {
    CAPTURE(spec);
    const test::TinyModel tiny(spec, ctx);
    TrainingPath path(tiny.model, kCpu, ctx.pool, 1000);
    const auto docs = documents();
    const Predictions tokens = path.predict(docs, Want::TokenToo);
    const Predictions losses = path.predict(docs, Want::Logprob);
    CHECK(tokens[3].empty());
    CHECK(tokens[1].size() == 6);
    for (size_t d = 0; d < docs.size(); ++d) {
      for (size_t i = 0; i < tokens[d].size(); ++i) {
        CHECK(losses[d][i].token == -1);
        CHECK(tokens[d][i].token >= 0);
        CHECK(losses[d][i].logprob == Approx(tokens[d][i].logprob).margin(kTolerance));
      }
    }
  }
}

TEST_CASE("the decoder predicts what the training path predicts", "[eval]") {
  test::TestContext ctx;
  for (const char* spec : {"dense", "topk:k=4", "topk:25%,min=2,sink=1,recent=2"}) {
    CAPTURE(spec);
    const test::TinyModel tiny(spec, ctx);
    const auto docs = documents();
    TrainingPath train(tiny.model, kCpu, ctx.pool, 1000);
    DecodingPath decode(tiny.model, engine(tiny.model, spec, spec, 3), kCpu, ctx.pool);
    check_close(train.predict(docs, Want::TokenToo), decode.predict(docs, Want::TokenToo));
  }
}

TEST_CASE("sparse attention is really used", "[eval]") {
  test::TestContext ctx;
  test::TinyModel tiny("dense", ctx);
  const auto docs = documents();
  TrainingPath dense(tiny.model, kCpu, ctx.pool, 1000);
  const Predictions a = dense.predict(docs, Want::Logprob);
  CHECK(dense.kept_mass()[0] == Approx(1).margin(1e-5));
  DecodingPath decode(tiny.model, engine(tiny.model, "topk:k=2", "dense", 2), kCpu, ctx.pool);
  const Predictions b = decode.predict(docs, Want::TokenToo);
  REQUIRE(decode.kept_mass().size() == 2);
  CHECK(decode.kept_mass()[0] < 0.999);
  CHECK(decode.kept_mass()[0] > 0);
  double difference = 0;
  for (size_t i = 0; i < a[2].size(); ++i)
    difference += std::abs(a[2][i].logprob - b[2][i].logprob);
  CHECK(difference > 0.01);
  tiny.set_attention("topk:k=2");
  TrainingPath sparse(tiny.model, kCpu, ctx.pool, 1000);
  sparse.predict(docs, Want::TokenToo);
  CHECK(sparse.kept_mass()[1] < 0.999);
}

TEST_CASE("predictions depend on nothing but their own document's beginning", "[eval]") {
  test::TestContext ctx;
  const test::TinyModel tiny("topk:k=4", ctx);
  const auto docs = documents();
  TrainingPath train(tiny.model, kCpu, ctx.pool, 1000);
  const Predictions together = train.predict(docs, Want::TokenToo);
  DecodingPath four(tiny.model, engine(tiny.model, "topk:k=4", "dense", 4), kCpu, ctx.pool);
  DecodingPath one(tiny.model, engine(tiny.model, "topk:k=4", "dense", 1), kCpu, ctx.pool);
  const Predictions side_by_side = four.predict(docs, Want::TokenToo);
  for (size_t d = 0; d < docs.size(); ++d) {
    CAPTURE(d);
    check_close({together[d]}, train.predict({&docs[d], 1}, Want::TokenToo));
    const Predictions alone = one.predict({&docs[d], 1}, Want::TokenToo);
    REQUIRE(alone[0].size() == side_by_side[d].size());
    for (size_t i = 0; i < alone[0].size(); ++i) {
      CHECK(alone[0][i].logprob == side_by_side[d][i].logprob);  // bit for bit
    }
  }
  // Tokens after the last asked row do not matter, and neither do the targets themselves.
  auto changed = docs;
  changed[2].tokens.back() = 1;
  changed[2].targets[4] = 7;
  const Predictions other = train.predict(changed, Want::TokenToo);
  for (size_t i = 0; i < other[2].size(); ++i) CHECK(other[2][i].token == together[2][i].token);
}

TEST_CASE("the training path gives the same bits for any number of threads", "[eval]") {
  std::vector<Predictions> runs;
  for (const int threads : {1, 3}) {
    test::TestContext ctx(size_t{1} << 26, threads);
    const test::TinyModel tiny("topk:k=4", ctx);
    TrainingPath path(tiny.model, kCpu, ctx.pool, 1000);
    runs.push_back(path.predict(documents(), Want::TokenToo));
  }
  for (size_t d = 0; d < runs[0].size(); ++d) {
    for (size_t i = 0; i < runs[0][d].size(); ++i) {
      CHECK(runs[0][d][i].logprob == runs[1][d][i].logprob);
    }
  }
}

TEST_CASE("a document beyond the decoder's room is refused by number", "[eval]") {
  test::TestContext ctx;
  const test::TinyModel tiny("dense", ctx);
  DecodingPath path(tiny.model, engine(tiny.model, "dense", "dense", 1), kCpu, ctx.pool);
  const std::vector<EvalDocument> docs = {test::random_document(77, 65, 2)};
  CHECK_THROWS_WITH(path.predict(docs, Want::TokenToo), ContainsSubstring("document 77"));
}
