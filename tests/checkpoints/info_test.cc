#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "checkpoints/safetensors.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/cli/commands.h"
#include "src/cli/doctor_checks.h"
#include "src/cli/info_describe.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

TEST_CASE("info tells what a checkpoint and a run are") {
  const QuietLog quiet;
  const TempDir dir;
  TinyCheckpoint(1).save(dir / "run/checkpoints");
  const std::string path = TinyCheckpoint(2).save(dir / "run/checkpoints");
  std::ofstream(dir / "run/config.toml") << "steps = 2\n";

  const auto checkpoint = describe_path(path);
  CHECK(checkpoint["what"] == "Pivot checkpoint");
  CHECK(checkpoint["attention"] == "topk:1%");
  CHECK(checkpoint["training"]["step"] == 2);
  CHECK(checkpoint["model"]["kv_heads"] == "1");
  CHECK(checkpoint["tokenizer"]["hash"] == "0123456789abcdef");
  CHECK(checkpoint["parameters"]["total"] == parameter_count(tiny_config()));
  CHECK(checkpoint["files"].size() == 5);
  int64_t sum = 0;
  for (const auto& part : checkpoint["parameters"]["of which"]) sum += part.get<int64_t>();
  CHECK(sum == parameter_count(tiny_config()));
  CHECK(describe_path(path + "/model.h5") == checkpoint);

  const auto run = describe_path(dir / "run");
  CHECK(run["what"] == "Pivot run");
  CHECK(run["checkpoints"].size() == 2);
  CHECK(run["newest"] == checkpoint);

  fs::resize_file(path + "/optimizer.h5", 100);
  CHECK_THROWS_WITH(describe_path(path), ContainsSubstring("optimizer.h5"));
  CHECK(describe_path(dir / "run")["newest"]["training"]["step"] == 1);
}

TEST_CASE("info tells what shards and safetensors are") {
  const TempDir dir;
  const auto tokenizer = make_tokenizer("bytes", "");
  ShardInfo info;
  info.tokenizer_kind = "bytes";
  info.tokenizer_hash = tokenizer->hash();
  info.vocab = tokenizer->vocab();
  ShardWriter writer(dir / "set/train", info, token_byte_table(*tokenizer), 4);
  const std::vector<int32_t> tokens = {72, 105, 33};
  for (int i = 0; i < 3; ++i) writer.add(tokens, 3);
  writer.finish();
  const auto set = describe_path(dir / "set");
  CHECK(set["what"] == "token shards of text");
  CHECK(set["documents"] == 3);
  CHECK(set["tokens"] == 9);
  CHECK(set["files"].size() == writer.files().size());
  CHECK(describe_path(writer.files().front())["tokenizer"]["hash"] == tokenizer->hash());

  std::vector<float> values = {1, 2};
  write_safetensors(dir / "x.safetensors", {{"a", view(values.data(), {2, 1})}}, {{"k", "v"}});
  const auto file = describe_path(dir / "x.safetensors");
  CHECK(file["what"] == "safetensors file");
  CHECK(file["values"] == 2);
  CHECK(file["tensors"][0]["shape"] == std::vector<int64_t>{2, 1});
  CHECK(file["metadata"]["k"] == "v");
}

TEST_CASE("info refuses the rest by name") {
  const TempDir dir;
  std::ofstream(dir / "notes.txt") << "hello";
  CHECK_THROWS_WITH(describe_path(dir / "notes.txt"), ContainsSubstring("notes.txt"));
  CHECK_THROWS_AS(describe_path(dir / "notes.txt"), UserError);
  CHECK_THROWS_WITH(describe_path(dir / "absent"), ContainsSubstring("does not exist"));
  CHECK_THROWS_WITH(describe_path(dir.path()), ContainsSubstring("notes.txt"));
  CHECK_THROWS_AS(run_info({}), UserError);
}

TEST_CASE("doctor's checks have verdicts, and hints where something is wrong") {
  ThreadPool pool(1);
  std::vector<CheckLine> lines;
  for (auto& part : {check_build(), check_machine(pool), check_libraries(), check_surroundings()}) {
    lines.insert(lines.end(), part.begin(), part.end());
  }
  CHECK(lines.size() >= 14);
  for (const CheckLine& line : lines) {
    CAPTURE(line.name, line.value);
    CHECK_FALSE(line.value.empty());
    CHECK((line.verdict == Verdict::Ok) == line.hint.empty());
    CHECK(line.verdict != Verdict::Fail);
  }
}

}  // namespace
}  // namespace pivot::test
