#include "src/eval/options.h"

#include <filesystem>
#include <fstream>

#include "src/base/check.h"
#include "src/eval/data_set.h"
#include "src/eval/evaluate.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;
using namespace pivot::eval;

namespace {

EvalOptions good() {
  EvalOptions o;
  o.model = "a-model";
  o.data = {"a-shard"};
  return o;
}

}  // namespace

TEST_CASE("specs in a list keep their own commas", "[eval]") {
  using List = std::vector<std::string>;
  CHECK(join_specs({"dense", "topk:1%", "min=16", "max=64", "topk:k=4"}) ==
        List{"dense", "topk:1%,min=16,max=64", "topk:k=4"});
  CHECK(join_specs({"*:topk:1%", "min=8;0-1:dense", "0:dense;*:topk:k=2"}) ==
        List{"*:topk:1%,min=8;0-1:dense", "0:dense;*:topk:k=2"});
  CHECK(join_specs({"min=8"}) == List{"min=8"});  // refused later, by the parser of specs
  CHECK(join_specs({}).empty());
}

TEST_CASE("options out of range are named", "[eval]") {
  CHECK_NOTHROW(validate(good()));
  EvalOptions o = good();
  o.model = "";
  CHECK_THROWS_WITH(validate(o), ContainsSubstring("--model"));
  o = good();
  o.data.clear();
  CHECK_THROWS_WITH(validate(o), ContainsSubstring("--data"));
  o = good();
  o.task = "recall";
  CHECK_THROWS_WITH(validate(o), ContainsSubstring("--task 'recall'"));
  o = good();
  o.mode = {"train", "fast"};
  CHECK_THROWS_WITH(validate(o), ContainsSubstring("--mode 'fast'"));
  o = good();
  o.limit = -1;
  CHECK_THROWS_AS(validate(o), UserError);
  o = good();
  o.batch = 0;
  CHECK_THROWS_AS(validate(o), UserError);
  o = good();
  o.seq_len = 1;
  CHECK_THROWS_AS(validate(o), UserError);
}

TEST_CASE("results go into the run, or where they are told", "[eval]") {
  const test::TempDir dir;
  std::filesystem::create_directories(dir / "run");
  std::ofstream(dir / "run/metrics.jsonl") << "{}\n";
  EvalOptions o = good();
  o.model = dir / "run";
  o.data = {"shards/recall.h5", "shards/text/"};
  CHECK(output_paths(o).json == (dir / "run/eval/recall+text.json"));
  CHECK(output_paths(o).samples == (dir / "run/eval/recall+text.samples.jsonl"));
  o.name = "first";
  CHECK(output_paths(o).json == (dir / "run/eval/first.json"));
  o.json = "out.json";
  CHECK(output_paths(o).json == "out.json");
  CHECK(output_paths(o).samples == "out.samples.jsonl");
  o = good();
  CHECK(output_paths(o).json.empty());
  CHECK(output_paths(o).samples.empty());
}

TEST_CASE("data sets are named after what they are", "[eval]") {
  CHECK(data_set_name("recall.h5") == "recall");
  CHECK(data_set_name("data/recall/") == "recall");
  CHECK(data_set_name("data/recall/validation") == "recall");
  CHECK(data_set_name("data/recall/validation/shard-00000.h5") == "recall");
  CHECK(data_set_name("validation") == "validation");
  CHECK(data_set_name("data/text/train") == "train");
}
