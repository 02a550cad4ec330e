// The whole of an evaluation on a tiny model, from files to results.
#include "src/eval/evaluate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "tests/eval/tiny_model.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;
using namespace pivot::eval;

namespace {

// A run with a random model, a shard with marked answers, a shard of text.
struct Files {
  test::TempDir dir;
  std::string run, answers, text;

  Files() {
    log::set_level(log::Level::Off);
    test::TestContext ctx;
    test::TinyModel tiny("dense", ctx);
    const auto bytes = load_tokenizer("bytes");
    run = tiny.save(dir / "run", *bytes, "topk:k=4");
    answers = write_shard(dir / "recall", *bytes, true, 24);
    text = write_shard(dir / "text", *bytes, false, 24);
  }
  ~Files() { log::set_level(log::Level::Info); }

  static std::string write_shard(const std::string& path, const Tokenizer& tokenizer, bool masked,
                                 int64_t count) {
    ShardInfo info;
    info.tokenizer_kind = tokenizer.kind();
    info.tokenizer_hash = tokenizer.hash();
    info.vocab = tokenizer.vocab();
    info.keep_whole = masked;
    info.parameters = info.provenance = "{}";
    ShardWriter writer(path, info, token_byte_table(tokenizer), 1 << 20);
    for (int64_t d = 0; d < count; ++d) {
      const auto document = test::random_document(d, 20 + d, 6);
      const std::vector<TokenSpan> answers = {{6, 7}, {12, 14}};
      writer.add(document.tokens, static_cast<int64_t>(document.tokens.size()),
                 masked ? ShardWriter::Mask::Spans : ShardWriter::Mask::None, answers);
    }
    writer.finish();
    return path;
  }

  EvalOptions options(const std::string& data) const {
    EvalOptions o;
    o.model = run;
    o.data = {data};
    o.device = "cpu";
    o.threads = 2;
    o.batch = 3;
    return o;
  }
};

double value(const EvalResult& r, const char* metric) {
  return r.metrics.at(metric).value;
}

}  // namespace

TEST_CASE("retrieval: both paths, several specs, compared", "[eval]") {
  const Files files;
  EvalOptions o = files.options(files.answers);
  o.attn = {"dense", "topk:k=4", "topk:50%", "min=2"};
  o.mode = {"train", "decode"};
  std::string lines;
  const ResultFile file = evaluate(o, [&](const std::string& l) { lines += l; });
  REQUIRE(file.results.size() == 6);
  CHECK(file.model_attention == "topk:k=4");
  CHECK(file.step == 10);
  for (size_t i = 0; i < 6; ++i) {
    const EvalResult& r = file.results[i];
    CAPTURE(i, r.attention);
    CHECK(r.data == "recall");
    CHECK(r.task == "retrieval");
    CHECK(r.metrics.at("answer_accuracy").n == 48);
    CHECK(r.metrics.at("token_accuracy").n == 72);
    CHECK(r.tokens == 72);
    CHECK(r.kept_mass.size() == 2);
    CHECK(r.against_first.has_value() == (i % 3 != 0));
    CHECK(r.prefill == (i < 3 ? "" : r.attention));
  }
  CHECK(file.results[2].attention == "topk:50%,min=2");
  for (size_t i = 0; i < 3; ++i) {
    CHECK(value(file.results[i], "loss") ==
          Approx(value(file.results[i + 3], "loss")).margin(2e-4));
    CHECK(value(file.results[i], "token_accuracy") == value(file.results[i + 3], "token_accuracy"));
  }
  CHECK(value(file.results[0], "loss") != value(file.results[1], "loss"));
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 6 * 24);
}

TEST_CASE("perplexity: both paths, bits per byte, positions", "[eval]") {
  const Files files;
  EvalOptions o = files.options(files.text);
  o.mode = {"train", "decode"};
  o.seq_len = 32;
  const ResultFile file = evaluate(o, {});
  REQUIRE(file.results.size() == 2);
  const EvalResult& r = file.results[0];
  CHECK(r.task == "perplexity");
  CHECK(r.attention == "topk:k=4");  // the trained one
  CHECK(value(r, "perplexity") == Approx(std::exp(value(r, "loss"))));
  // Every token is a byte.
  CHECK(value(r, "bits_per_byte") == Approx(value(r, "loss") / std::log(2.0)).epsilon(0.01));
  CHECK(value(r, "loss") == Approx(value(file.results[1], "loss")).margin(2e-4));
  CHECK(r.buckets.size() == 6);
  CHECK(r.metrics.at("loss").n > 600);
}

TEST_CASE("limit and seed choose a part", "[eval]") {
  const Files files;
  EvalOptions o = files.options(files.answers);
  o.attn = {"dense"};
  o.limit = 5;
  std::string first, same, other;
  CHECK(evaluate(o, [&](const std::string& l) { first += l; }).results[0].items == 5);
  evaluate(o, [&](const std::string& l) { same += l; });
  o.seed = 3;
  evaluate(o, [&](const std::string& l) { other += l; });
  CHECK(first == same);
  CHECK(first != other);
}

TEST_CASE("what does not fit together is refused before any work", "[eval]") {
  const Files files;
  EvalOptions o = files.options(files.answers);
  SECTION("missing model") {
    o.model = files.dir / "nowhere";
    CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("nowhere"));
    CHECK_THROWS_AS(evaluate(o, {}), UserError);
  }
  SECTION("missing shard") {
    o.data = {files.dir / "nothing.h5"};
    CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("nothing.h5"));
    CHECK_THROWS_AS(evaluate(o, {}), UserError);
  }
  SECTION("damaged shard") {
    const std::string path = resolve_shards(files.answers)[0];
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    CHECK_THROWS_AS(evaluate(o, {}), UserError);
  }
  SECTION("shard of another tokenizer") {
    const auto shards = resolve_shards(files.text);
    ShardInfo info = Shard(shards[0]).info();
    info.tokenizer_hash = "feedfeedfeedfeed";
    ShardWriter writer(files.dir / "foreign", info,
                       std::vector<uint16_t>(static_cast<size_t>(info.vocab), 1), 1000);
    writer.add(std::vector<int32_t>{1, 2, 3, 4}, 4);
    writer.finish();
    o.data = {files.dir / "foreign"};
    CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("feedfeedfeedfeed"));
    CHECK_THROWS_AS(evaluate(o, {}), UserError);
  }
  SECTION("spec with a mistake") {
    o.attn = {"dense", "topk:0%"};
    CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("topk:0%"));
    o.attn = {"dense"};
    o.prefill = "densest";
    CHECK_THROWS_AS(evaluate(o, {}), UserError);
  }
  SECTION("text has no marked answers") {
    o.data = {files.text};
    o.task = "retrieval";
    CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("marks no answers"));
  }
}
