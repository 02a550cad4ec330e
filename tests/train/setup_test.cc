#include "train/setup.h"

#include "src/base/check.h"
#include "tests/support/catch.h"
#include "tests/train/tiny_run.h"
#include "train/machine.h"

namespace pivot::test {
namespace {

TEST_CASE("setup: what is wrong is said before anything starts") {
  struct Case {
    std::function<void(TrainOptions&)> spoil;
    const char* message;
  };
  const std::vector<Case> cases = {
      {[](auto& o) { o.data.seq_len = 64; }, "longer than model.context"},
      {[](auto& o) { o.data.seq_len = 1; }, "data.seq_len"},
      {[](auto& o) { o.batch.tokens = 250; }, "256 would be"},
      {[](auto& o) { o.batch.tokens = 0; }, "batch.tokens"},
      {[](auto& o) { o.batch.micro = 3; }, "does not divide"},
      {[](auto& o) { o.attention.spec = "topk:k=64"; }, "larger than the context"},
      {[](auto& o) { o.attention.spec = "topk:10%,min=64"; }, "larger than the context"},
      {[](auto& o) { o.attention.spec = "topk:0%"; }, "0%"},
      {[](auto& o) { o.attention.spec = "topk:101%"; }, "101%"},
      {[](auto& o) { o.attention.dense_first = "1x"; }, "attention.dense_first"},
      {[](auto& o) { o.optim.lr = -1; }, "optim.lr"},
      {[](auto& o) { o.optim.beta2 = 1; }, "optim.beta2"},
      {[](auto& o) { o.schedule.type = "step"; }, "schedule.type"},
      {[](auto& o) { o.checkpoint.every = "often"; }, "checkpoint.every"},
      {[](auto& o) { o.steps = 0; }, "steps"},
      {[](auto& o) { o.recompute = "some"; }, "recompute"},
      {[](auto& o) { o.on_nan = "ignore"; }, "on_nan"},
      {[](auto& o) {
         o.model.heads = 3;
         o.model.kv_heads = 2;
       },
       "kv_heads"},
  };
  CHECK_NOTHROW(validate(tiny_options("out")));
  for (const Case& c : cases) {
    CAPTURE(c.message);
    TrainOptions o = tiny_options("out");
    c.spoil(o);
    CHECK_THROWS_AS(validate(o), UserError);
    CHECK_THROWS_WITH(validate(o), ContainsSubstring(c.message));
  }
}

TEST_CASE("setup: a vocabulary of 0 is the data's; one that is too small is refused") {
  const MemoryLoader loader;
  TrainOptions o = tiny_options("out");
  o.model.vocab = 0;
  fit_to_data(o, loader, nullptr);
  CHECK(o.model.vocab == 40);
  o.model.vocab = 39;
  CHECK_THROWS_WITH(fit_to_data(o, loader, nullptr), ContainsSubstring("model.vocab 39"));
}

TEST_CASE("setup: advice where a schedule or a budget makes no sense") {
  TrainOptions o = tiny_options("out");
  CHECK(advice(o).empty());
  o.attention.spec = "topk:k=32";
  CHECK_THAT(advice(o).at(0), ContainsSubstring("every key"));
  o.attention = {.spec = "topk:k=4", .dense_first = "0", .anneal = "0"};
  CHECK_THAT(advice(o).at(0), ContainsSubstring("dense_first"));
}

TEST_CASE("machine: amounts of memory are read with their units") {
  CHECK(parse_bytes("4GiB") == size_t{4} << 30);
  CHECK(parse_bytes("1.5 MiB") == size_t{3} << 19);
  CHECK(parse_bytes("8g") == size_t{8} << 30);
  CHECK(parse_bytes("100") == 100);
  for (const char* bad : {"", "GiB", "4X", "-1GiB", "4Gib4", "1e300"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_bytes(bad), UserError);
  }
  const MachineMemory m = machine_memory();
  CHECK(m.total > 0);
  CHECK(m.available > 0);
  CHECK(m.available <= m.total);
}

}  // namespace
}  // namespace pivot::test
