#include <cmath>
#include <filesystem>
#include <limits>

#include "checkpoints/layout.h"
#include "checkpoints/model_source.h"
#include "checkpoints/tensor_file.h"
#include "checkpoints/train_state.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/core/hdf5.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

TEST_CASE("a checkpoint reads back bit for bit") {
  const TempDir dir;
  TinyCheckpoint saved(100);
  saved.info.state.values = {
      {"best", std::numeric_limits<double>::infinity()}, {"ema", 0.1 + 0.2}, {"spike", -1e-300}};
  const std::string path = saved.save(dir.path());
  CHECK(path == dir / "step_00000100");
  const TinyCheckpoint read = load(path);
  CHECK(read.weights == saved.weights);
  CHECK(read.m == saved.m);
  CHECK(read.v == saved.v);
  CHECK(read.info.attention == saved.info.attention);
  CHECK(read.info.tokenizer_kind == saved.info.tokenizer_kind);
  CHECK(read.info.tokenizer_bytes == saved.info.tokenizer_bytes);
  CHECK(read.info.tokenizer_hash == saved.info.tokenizer_hash);
  CHECK(read.info.config_toml == saved.info.config_toml);
  CHECK(read.info.pivot_version == saved.info.pivot_version);
  CHECK(read.info.state.step == 100);
  CHECK(read.info.state.consumed_sequences == 800);
  CHECK(read.info.state.consumed_tokens == 102400);
  CHECK(read.info.state.elapsed_seconds == saved.info.state.elapsed_seconds);
  CHECK(read.info.state.values == saved.info.state.values);
  ModelConfig config = tiny_config();
  ModelConfig back = read.info.model;
  CHECK(to_toml(option_fields(back), TomlComments::None) ==
        to_toml(option_fields(config), TomlComments::None));
}

TEST_CASE("companions travel with the checkpoint, under its checksums") {
  const TempDir dir;
  TinyCheckpoint saved(3);
  saved.info.tokenizer_kind = "huggingface";
  saved.info.tokenizer_bytes = "{\"model\": {}}";
  saved.info.companions = {{kTokenizerConfigFile, "{\"chat_template\": \"\\n\"}"},
                           {kHfConfigFile, std::string("{\0}", 3)},
                           {kGenerationConfigFile, ""}};
  const std::string path = saved.save(dir.path());
  CHECK(fs::exists(path + "/tokenizer.json"));
  const TinyCheckpoint read = load(path);
  CHECK(read.info.companions == saved.info.companions);
  CHECK(read.info.companion(kHfConfigFile).size() == 3);
  CHECK(read.info.companion("another").empty());
  CHECK(read.info.tokenizer_bytes == saved.info.tokenizer_bytes);

  fs::resize_file(path + "/hf_config.json", 1);
  CHECK_THROWS_WITH(read_checkpoint_info(path), ContainsSubstring("hf_config.json"));
  write_file_atomically(path + "/hf_config.json", "abc");
  CHECK_THROWS_WITH(read_checkpoint_info(path), ContainsSubstring("hf_config.json"));
}

TEST_CASE("weights from memory and from a source make the same checkpoint") {
  const TempDir dir;
  TinyCheckpoint saved(5);
  const std::string whole =
      save_checkpoint(dir / "whole", saved.info, TinyCheckpoint::flat(saved.weights), {}, {});
  const auto source = open_model(whole);
  ThreadPool pool(3);
  const std::string streamed =
      save_checkpoint(dir / "streamed", saved.info, *source, {.pool = &pool});
  for (const char* file : {"/state.json", "/config.toml", "/tokenizer.model"}) {
    CHECK(read_file(whole + file) == read_file(streamed + file));
  }
  CHECK(fs::file_size(whole + "/model.h5") == fs::file_size(streamed + "/model.h5"));
  for (const std::string& path : {whole, streamed}) {
    std::vector<float> weights(saved.weights.size());
    read_checkpoint_tensors(path, saved.info.model, TinyCheckpoint::flat(weights), {}, {});
    CHECK(weights == saved.weights);
  }
}

TEST_CASE("16-bit weights are what their attribute says") {
  const TempDir dir;
  TinyCheckpoint saved(5);
  for (float& x : saved.weights) x = to_float(to_bfloat16(x));
  const std::string f32 =
      save_checkpoint(dir / "f32", saved.info, TinyCheckpoint::flat(saved.weights), {}, {});
  const std::string path =
      save_checkpoint(dir.path(), saved.info, *open_model(f32), {.type = WeightType::BF16});
  std::vector<float> weights(saved.weights.size());
  read_checkpoint_tensors(path, saved.info.model, TinyCheckpoint::flat(weights), {}, {});
  CHECK(weights == saved.weights);
  CHECK(open_model(path)->stored_type(list_params(saved.info.model)[0]) == DType::BF16);
  {
    const hdf5::File file = hdf5::File::open(path + "/model.h5");
    CHECK(file.dataset("/params/embed.weight").type() == hdf5::Type::U16);
    CHECK(file.string_attribute("/params/embed.weight", "type") == "bfloat16");
  }
  // Without the attribute they are numbers of no known meaning.
  hdf5::File file = hdf5::File::create(dir / "plain.h5");
  const std::vector<ParamInfo> params = list_params(saved.info.model);
  for (const ParamInfo& p : params) {
    const std::vector<uint16_t> values(static_cast<size_t>(p.shape.count()));
    file.write_array<uint16_t>("/params/" + p.name, values);
    file.set_attribute("/params/" + p.name, "shape", to_string(p.shape));
  }
  file.close();
  CHECK_THROWS_WITH(MappedTensors(hdf5::File::open(dir / "plain.h5"), "/params", params),
                    ContainsSubstring("holds uint16, float32 is needed"));
}

TEST_CASE("the byte tokenizer has an empty file") {
  const TempDir dir;
  TinyCheckpoint saved(1);
  saved.info.tokenizer_kind = "bytes";
  saved.info.tokenizer_bytes = "";
  const std::string path = saved.save(dir.path());
  CHECK(fs::exists(path + "/tokenizer.bytes"));
  CHECK(read_checkpoint_info(path).tokenizer_kind == "bytes");
}

TEST_CASE("NaN survives in the state") {
  TrainState state;
  state.values["loss"] = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(parse_train_state(print_train_state(state), "here").values.at("loss")));
  CHECK_THROWS_WITH(parse_train_state("{\"step\": -1}", "here/state.json"),
                    ContainsSubstring("here/state.json"));
  CHECK_THROWS_AS(parse_train_state("{\"step\": 1e99}", "here"), UserError);
  CHECK_THROWS_AS(parse_train_state("[]", "here"), UserError);
}

TEST_CASE("without moments it is for use, not for resuming") {
  const TempDir dir;
  TinyCheckpoint saved(7);
  const std::string path = save_checkpoint(dir.path(), saved.info,
                                           TinyCheckpoint::flat(saved.weights), Tensor(), Tensor());
  CHECK_FALSE(fs::exists(path + "/optimizer.h5"));
  std::vector<float> weights(saved.weights.size());
  read_checkpoint_tensors(path, saved.info.model, TinyCheckpoint::flat(weights), {}, {});
  CHECK(weights == saved.weights);
  CHECK_THROWS_WITH(load(path), ContainsSubstring("exported for use, not for resuming"));
}

TEST_CASE("saving a step again replaces it") {
  const TempDir dir;
  TinyCheckpoint(5).save(dir.path());
  TinyCheckpoint other(5);
  other.weights[3] = 1234;
  other.save(dir.path());
  CHECK(load(dir / "step_00000005").weights[3] == 1234);
  CHECK_FALSE(fs::exists(dir / "step_00000005.tmp"));
}

TEST_CASE("listing is by step and skips what is not complete") {
  const QuietLog quiet;
  const TempDir dir;
  for (const int64_t step : {20, 100000000, 3}) TinyCheckpoint(step).save(dir.path());
  fs::create_directories(dir / "step_00000050");
  fs::create_directories(dir / "step_00000060.tmp");
  fs::create_directories(dir / "notes");
  const std::vector<std::string> expected = {dir / "step_00000003", dir / "step_00000020",
                                             dir / "step_100000000"};
  CHECK(list_checkpoints(dir.path()) == expected);
  CHECK(list_checkpoints(dir / "absent").empty());
}

TEST_CASE("pruning keeps the newest complete ones") {
  const QuietLog quiet;
  const TempDir dir;
  for (const int64_t step : {1, 2, 3, 4}) TinyCheckpoint(step).save(dir.path());
  fs::remove(dir / "step_00000004/model.h5");
  fs::create_directories(dir / "step_00000009.tmp");
  fs::create_directories(dir / "mine.tmp");
  SECTION("two") {
    prune_checkpoints(dir.path(), 2);
    const std::vector<std::string> expected = {dir / "step_00000002", dir / "step_00000003"};
    CHECK(list_checkpoints(dir.path()) == expected);
    CHECK_FALSE(fs::exists(dir / "step_00000001"));
  }
  SECTION("all") {
    prune_checkpoints(dir.path(), 0);
    CHECK(list_checkpoints(dir.path()).size() == 3);
  }
  CHECK_FALSE(fs::exists(dir / "step_00000009.tmp"));
  CHECK(fs::exists(dir / "mine.tmp"));
}

TEST_CASE("--model finds a checkpoint in what it is given") {
  const QuietLog quiet;
  const TempDir dir;
  const std::string saved = dir / "run/checkpoints";
  TinyCheckpoint(1).save(saved);
  const std::string newest = TinyCheckpoint(2).save(saved);
  CHECK(find_checkpoint(dir / "run") == newest);
  CHECK(find_checkpoint(saved) == newest);
  CHECK(find_checkpoint(saved + "/step_00000001") == saved + "/step_00000001");
  CHECK(find_checkpoint(saved + "/step_00000001/") == saved + "/step_00000001/");

  fs::create_directories(dir / "empty");
  CHECK_THROWS_WITH(find_checkpoint(dir / "empty"), ContainsSubstring("found: nothing"));
  CHECK_THROWS_WITH(find_checkpoint(dir / "absent"), ContainsSubstring("does not exist"));
  CHECK_THROWS_WITH(find_checkpoint(newest + "/model.h5"), ContainsSubstring("is a file"));
  fs::remove(newest + "/MANIFEST.json");
  CHECK_THROWS_WITH(find_checkpoint(newest), ContainsSubstring("not a complete checkpoint"));
  CHECK(find_checkpoint(dir / "run") == saved + "/step_00000001");
}

TEST_CASE("names of checkpoints") {
  CHECK(layout::step_name(100) == "step_00000100");
  CHECK(layout::parse_step_name("step_00000100") == 100);
  CHECK(layout::parse_step_name(layout::step_name(1234567890)) == 1234567890);
  for (const char* other : {"step_100", "step_0000010x", "step_-0000010", "step_00000100.tmp",
                            "step_99999999999999999999", "last"}) {
    CAPTURE(other);
    CHECK_FALSE(layout::parse_step_name(other));
  }
  CHECK(layout::is_temporary_name("step_00000100.tmp"));
  CHECK_FALSE(layout::is_temporary_name("step_00000100"));
  CHECK_FALSE(layout::is_temporary_name("other.tmp"));
}

}  // namespace
}  // namespace pivot::test
