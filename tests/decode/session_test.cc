#include "src/decode/session.h"

#include "src/base/check.h"
#include "src/decode/generate.h"
#include "tests/decode/counting_run.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot {

TEST_CASE("session: a checkpoint comes back with its attention and tokenizer, and generates") {
  const test::TempDir dir;
  test::save_counting_model(dir / "run", "topk:k=3");
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
