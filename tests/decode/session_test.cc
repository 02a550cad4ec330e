#include "src/decode/session.h"

#include "checkpoints/checkpoint.h"
#include "src/base/check.h"
#include "src/decode/generate.h"
#include "tests/decode/small_model.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot {
namespace {

// A run directory with one checkpoint of the counting model.
std::string save_counting_model(const std::string& run, const std::string& attention) {
  const auto small = test::counting_model();
  const Model& model = small->model();
  CheckpointInfo info;
  info.model = model.config;
  info.attention = attention;
  info.tokenizer_kind = "bytes";
  info.tokenizer_hash = make_tokenizer("bytes", "")->hash();
  info.pivot_version = "test";
  const Tensor weights = view(model.params.embed.as<float>(), {parameter_count(model.config)});
  return save_checkpoint(run, info, weights, {}, {});
}

}  // namespace

TEST_CASE("session: a checkpoint comes back with its attention and tokenizer, and generates") {
  const test::TempDir dir;
  save_counting_model(dir / "run", "topk:k=3");
  SessionOptions options;
  options.device = "cpu";
  options.model = dir / "run";
  Session session(options, 1);
  CHECK(session.describe_attention() ==
        "cpu in f32; trained with topk:k=3; prompt topk:k=3, decoding topk:k=3");
  CHECK(session.engine().max_context() == 64);
  const GenerateOptions greedy{
      .sampler = {.temperature = 0}, .max_tokens = 4, .samples = 1, .stop = {}};
  const auto text = [&] {
    return generate(session.engine(), session.tokenizer(), session.tokenizer().encode("hij"),
                    greedy)
        .samples[0]
        .text;
  };
  CHECK(text() == "klmn");
  session.set_attention("dense", "topk:k=2");
  CHECK(session.attention() == "dense");
  CHECK(session.prefill_attention() == "topk:k=2");
  CHECK(text() == "klmn");
  CHECK_THROWS_AS(session.set_attention("topk:0%", ""), UserError);
  CHECK(text() == "klmn");
  CHECK(session.kept_mass() == 1);
}

TEST_CASE("session: models that are not there") {
  const test::TempDir dir;
  CHECK_THROWS_WITH(Session({}, 1), ContainsSubstring("--model"));
  SessionOptions options;
  options.device = "cpu";
  options.model = dir / "nothing";
  CHECK_THROWS_AS(Session(options, 1), UserError);
}

}  // namespace pivot
