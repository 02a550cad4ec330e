#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "checkpoints/hf/export.h"
#include "src/base/check.h"
#include "tests/checkpoints/hf_directory.h"
#include "tests/checkpoints/memory_source.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

constexpr char kTokenizer[] = R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})";

nlohmann::json json_of(const std::string& path) {
  return nlohmann::json::parse(read_file(path));
}

CheckpointInfo small_info() {
  CheckpointInfo info;
  info.model = tiny_config();
  info.attention = "topk:2%,min=4";
  info.tokenizer_kind = "huggingface";
  info.tokenizer_bytes = kTokenizer;
  info.tokenizer_hash = tokenizer_hash("huggingface", kTokenizer);
  info.state.step = 7;
  info.state.consumed_tokens = 700;
  return info;
}

TEST_CASE("what is exported is read back, bit for bit") {
  const MemorySource source(small_info());
  const TempDir dir;
  const std::string out = dir / "a/b/model";
  int64_t seen = 0;
  CHECK(write_hf(source, {.directory = out, .special = {5, 6}, .progress = [&](int64_t n) {
                            seen += n;
                          }}) == "float32");
  CHECK(seen == parameter_count(source.info().model));
  const auto again = open_model(out);
  CHECK(all_weights(*again) == source.weights);
  CHECK(again->info().attention == "topk:2%,min=4");
  CHECK(again->info().state.step == 7);
  CHECK(again->info().state.consumed_tokens == 700);
  CHECK(again->info().tokenizer_bytes == kTokenizer);
  CHECK(again->info().tokenizer_hash == source.info().tokenizer_hash);
  CHECK(json_of(out + "/config.json")["torch_dtype"] == "float32");
  CHECK(json_of(out + "/generation_config.json")["eos_token_id"] == 6);
  CHECK_FALSE(fs::exists(out + ".tmp"));
  CHECK_FALSE(fs::exists(out + "/model.safetensors.index.json"));
  const SafetensorsFile file(out + "/model.safetensors");
  CHECK(file.metadata().at("format") == "pt");
}

TEST_CASE("a Hugging Face directory goes round: files and tensors") {
  for (const std::string family : {"llama", "mistral", "qwen2", "qwen3"}) {
    CAPTURE(family);
    HfDirectory directory(family);
    directory.set_all(DType::BF16);
    directory.put("tokenizer.json", kTokenizer);
    directory.put("tokenizer_config.json", R"({"chat_template": "x", "n": 1.50})");
    directory.put("generation_config.json", R"({"temperature": 0.60})");
    const auto source = open_model(directory.write_sharded());
    const TempDir dir;
    CHECK(write_hf(*source, {.directory = dir / "out"}) == "bfloat16");
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
      CHECK(read_file(dir / ("out/" + std::string(name))) == read_file(directory.dir / name));
    }
    const SafetensorsFile file(dir / "out/model.safetensors");
    CHECK(file.entries().size() == directory.tensors.size());
    for (const auto& [name, tensor] : directory.tensors) {
      CAPTURE(name);
      REQUIRE(file.entries().count(name) == 1);
      const SafetensorsFile::Entry& entry = file.entries().at(name);
      CHECK(entry.dtype == "BF16");
      CHECK(entry.shape == tensor.shape);
      std::vector<BFloat16> stored(tensor.values.size());
      REQUIRE(entry.bytes.size() == stored.size() * 2);
      std::memcpy(stored.data(), entry.bytes.data(), entry.bytes.size());
      bool equal = true;
      for (size_t i = 0; i < stored.size(); ++i) equal &= to_float(stored[i]) == tensor.values[i];
      CHECK(equal);
    }
  }
}

TEST_CASE("files of a size, and their index") {
  const MemorySource source(small_info());
  const TempDir dir;
  constexpr int64_t kLimit = 4000;
  write_hf(source, {.directory = dir / "out", .shard_bytes = kLimit});
  const auto index = json_of(dir / "out/model.safetensors.index.json");
  CHECK(index["metadata"]["total_size"] == parameter_count(source.info().model) * 4);
  std::set<std::string> files;
  for (const auto& [tensor, name] : index["weight_map"].items()) files.insert(name);
  CHECK(files.size() > 3);
  CHECK(*files.begin() == fmt::format("model-00001-of-{:05}.safetensors", files.size()));
  for (const std::string& name : files) {
    const SafetensorsFile file(dir / ("out/" + name));
    size_t bytes = 0;
    for (const auto& [tensor, entry] : file.entries()) bytes += entry.bytes.size();
    CHECK((bytes <= kLimit || file.entries().size() == 1));
  }
  CHECK(all_weights(*open_model(dir / "out")) == source.weights);
}

TEST_CASE("types of an export") {
  MemorySource source(small_info());
  const TempDir dir;
  for (const auto& [type, name] :
       {std::pair{WeightType::BF16, "bfloat16"}, std::pair{WeightType::F16, "float16"}}) {
    CHECK(write_hf(source, {.directory = dir / name, .type = type}) == name);
    CHECK(json_of(dir / (std::string(name) + "/config.json"))["dtype"] == name);
    const auto again = open_model(dir / name);
    CHECK(all_weights(*again) == source.weights);  // exact in both
    const bool bf16 = type == WeightType::BF16;
    CHECK(again->stored_type(list_params(source.info().model)[0]) ==
          (bf16 ? DType::BF16 : DType::F32));
    CHECK_THAT(again->describe(), ContainsSubstring(bf16 ? "BF16" : "F16"));
  }
  source.weights[100] = 70000;  // above the largest half
  CHECK_THROWS_WITH(write_hf(source, {.directory = dir / "big", .type = WeightType::F16}),
                    ContainsSubstring("float16"));
  CHECK_FALSE(fs::exists(dir / "big"));
  CHECK_FALSE(fs::exists(dir / "big.tmp"));
  CHECK_NOTHROW(write_hf(source, {.directory = dir / "big", .type = WeightType::BF16}));
}

TEST_CASE("only a model is replaced, and only when asked to") {
  MemorySource source(small_info());
  const TempDir dir;
  const std::string out = dir / "out";
  fs::create_directories(out);
  write_hf(source, {.directory = out + "/"});  // empty: fine
  source.weights[0] = 42;
  CHECK_THROWS_WITH(write_hf(source, {.directory = out}), ContainsSubstring("--overwrite"));
  CHECK(all_weights(*open_model(out))[0] != 42);
  write_hf(source, {.directory = out, .overwrite = true});
  CHECK(all_weights(*open_model(out))[0] == 42);
}

TEST_CASE("other directories are never replaced") {
  const MemorySource source(small_info());
  const TempDir dir;
  fs::create_directories(dir / "notes");
  write_file_atomically(dir / "notes/thesis.tex", "x");
  CHECK_THROWS_WITH(write_hf(source, {.directory = dir / "notes", .overwrite = true}),
                    ContainsSubstring("not replaced"));
  CHECK(read_file(dir / "notes/thesis.tex") == "x");
  CHECK_THROWS_WITH(write_hf(source, {.directory = dir / "notes/thesis.tex"}),
                    ContainsSubstring("is a file"));
}

TEST_CASE("byte tokenizers go round") {
  CheckpointInfo info = small_info();
  info.model.vocab = 258;
  info.tokenizer_kind = "bytes";
  info.tokenizer_bytes = "";
  info.tokenizer_hash = tokenizer_hash("bytes", "");
  const MemorySource source(info);
  const TempDir dir;
  write_hf(source, {.directory = dir / "out"});
  const auto tokenizer = json_of(dir / "out/tokenizer.json");
  CHECK(tokenizer["model"]["vocab"]["A"] == 65);
  CHECK(tokenizer["model"]["vocab"]["\u0120"] == 32);
  CHECK(tokenizer["model"]["merges"].empty());
  CHECK(json_of(dir / "out/tokenizer_config.json")["eos_token"] == "</s>");
  const auto again = open_model(dir / "out");
  CHECK(again->info().tokenizer_kind == "bytes");
  CHECK(again->info().tokenizer_hash == info.tokenizer_hash);
  CHECK(again->info().companion(kTokenizerConfigFile).empty());
}

TEST_CASE("a model without a tokenizer needs to be asked for") {
  CheckpointInfo info = small_info();
  info.tokenizer_kind = info.tokenizer_bytes = info.tokenizer_hash = "";
  const MemorySource source(info);
  const TempDir dir;
  CHECK_THROWS_WITH(write_hf(source, {.directory = dir / "out"}),
                    ContainsSubstring("--without-tokenizer"));
  CHECK_FALSE(fs::exists(dir / "out"));
  write_hf(source, {.directory = dir / "out", .tokenizer = false});
  CHECK(open_model(dir / "out")->info().tokenizer_kind.empty());
}

}  // namespace
}  // namespace pivot::test
