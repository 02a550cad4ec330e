#include <filesystem>
#include <limits>

#include "checkpoints/hf/source.h"
#include "src/base/check.h"
#include "tests/checkpoints/hf_directory.h"
#include "tests/checkpoints/memory_source.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

std::vector<float> values(const HfDirectory& directory, const std::vector<std::string>& names) {
  std::vector<float> out;
  for (const std::string& name : names) {
    const std::vector<float>& v = directory.tensors.at(name).values;
    out.insert(out.end(), v.begin(), v.end());
  }
  return out;
}

// Storage order of Pivot's parameters, in names of Hugging Face.
std::vector<std::string> in_order(const std::string& family, bool tied) {
  std::vector<std::string> out = {"model.embed_tokens.weight"};
  for (int l = 0; l < 2; ++l) {
    const std::string p = fmt::format("model.layers.{}.", l);
    const auto add = [&](const char* name) { out.push_back(p + name); };
    add("input_layernorm.weight");
    for (const char* kind : {"weight", "bias"}) {
      if (kind == std::string("bias") && family != "qwen2") continue;
      for (const char* head : {"q", "k", "v"}) {
        out.push_back(fmt::format("{}self_attn.{}_proj.{}", p, head, kind));
      }
    }
    if (family == "qwen3") {
      add("self_attn.q_norm.weight");
      add("self_attn.k_norm.weight");
    }
    add("self_attn.o_proj.weight");
    add("post_attention_layernorm.weight");
    add("mlp.gate_proj.weight");
    add("mlp.up_proj.weight");
    add("mlp.down_proj.weight");
  }
  out.emplace_back("model.norm.weight");
  if (!tied) out.emplace_back("lm_head.weight");
  return out;
}

TEST_CASE("weights of every family lie where they belong") {
  for (const std::string family : {"llama", "mistral", "qwen2", "qwen3"}) {
    for (const bool tied : {false, true}) {
      for (const bool sharded : {false, true}) {
        for (const DType type : {DType::F32, DType::BF16}) {
          CAPTURE(family, tied, sharded, dtype_name(type));
          HfDirectory directory(family);
          directory.set_all(type);
          if (tied) {
            directory.config["tie_word_embeddings"] = "true";
            directory.tensors.erase("lm_head.weight");
          }
          const auto source = open_model(sharded ? directory.write_sharded() : directory.write());
          CHECK(all_weights(*source) == values(directory, in_order(family, tied)));
          CHECK(source->info().model.tied_embeddings == tied);
          CHECK(source->info().attention == "dense");
          CHECK(source->info().tokenizer_kind.empty());
          CHECK_THAT(source->describe(), ContainsSubstring(family) &&
                                             ContainsSubstring(sharded ? "2 files" : "1 file") &&
                                             ContainsSubstring(dtype_name(type)));
          for (const ParamInfo& p : list_params(source->info().model)) {
            CHECK(source->stored_type(p) == type);
          }
        }
      }
    }
  }
}

TEST_CASE("any rows of a fused parameter, from any number of threads") {
  HfDirectory directory;
  const auto source = open_model(directory.write());
  const std::vector<ParamInfo> params = list_params(source->info().model);
  const auto qkv = std::find_if(params.begin(), params.end(),
                                [](const ParamInfo& p) { return p.name == "layers.1.qkv.weight"; });
  REQUIRE(qkv != params.end());
  const std::vector<float> whole = values(directory, {"model.layers.1.self_attn.q_proj.weight",
                                                      "model.layers.1.self_attn.k_proj.weight",
                                                      "model.layers.1.self_attn.v_proj.weight"});
  for (int64_t begin = 0; begin <= 32; ++begin) {
    for (int64_t end = begin; end <= 32; ++end) {
      std::vector<float> out(static_cast<size_t>((end - begin) * 16));
      source->read(*qkv, begin, end, out.data());
      CHECK(std::equal(out.begin(), out.end(), whole.begin() + begin * 16));
    }
  }
  ThreadPool pool(4);
  std::vector<float> flat(static_cast<size_t>(parameter_count(source->info().model)));
  read_weights(*source, view(flat.data(), {static_cast<int64_t>(flat.size())}), &pool);
  CHECK(flat == all_weights(*source));
}

TEST_CASE("types may be mixed; only what is BF16 throughout stays so") {
  HfDirectory directory;
  directory.set_all(DType::BF16);
  directory.types["model.layers.0.self_attn.k_proj.weight"] = DType::F32;
  directory.types["model.norm.weight"] = DType::F32;
  const auto source = open_model(directory.write());
  CHECK(all_weights(*source) == values(directory, in_order("llama", false)));
  int exact = 0, wide = 0;
  for (const ParamInfo& p : list_params(source->info().model)) {
    const bool f32 = p.name == "layers.0.qkv.weight" || p.name == "norm.weight";
    CHECK(source->stored_type(p) == (f32 ? DType::F32 : DType::BF16));
    ++(f32 ? wide : exact);
  }
  CHECK(wide == 2);
  CHECK(exact > 2);
}

TEST_CASE("types that are not read are refused by name") {
  HfDirectory directory;
  directory.write();
  const std::string path = directory.dir / "model.safetensors";
  std::string bytes = read_file(path);
  const std::string entry = R"("model.norm.weight":{"dtype":"F32")";
  const size_t at = bytes.find(entry);
  REQUIRE(at != std::string::npos);
  bytes.replace(at, entry.size(), R"("model.norm.weight":{"dtype":"I32")");
  write_file_atomically(path, bytes);
  CHECK_THROWS_WITH(open_model(directory.dir.path()),
                    ContainsSubstring("'model.norm.weight' is I32") && ContainsSubstring("BF16"));
  CHECK_THROWS_AS(open_model(directory.dir.path()), UserError);
}

TEST_CASE("computed tensors are ignored, unknown ones are not") {
  HfDirectory directory;
  directory.add("model.layers.0.self_attn.rotary_emb.inv_freq", {4});
  directory.add("model.rotary_emb.inv_freq", {4});
  CHECK_NOTHROW(open_model(directory.write()));
  CHECK_NOTHROW(open_model(directory.write_sharded()));
  directory.add("model.layers.0.self_attn.o_proj.bias", {16});
  CHECK_THROWS_WITH(open_model(directory.write()),
                    ContainsSubstring("'model.layers.0.self_attn.o_proj.bias'"));
}

TEST_CASE("tensors must be there, of the right shape") {
  HfDirectory directory;
  SECTION("missing") {
    directory.tensors.erase("model.layers.1.mlp.up_proj.weight");
    CHECK_THROWS_WITH(open_model(directory.write()),
                      ContainsSubstring("'model.layers.1.mlp.up_proj.weight' is missing"));
  }
  SECTION("another shape") {
    directory.add("model.layers.1.mlp.up_proj.weight", {16, 24});
    CHECK_THROWS_WITH(open_model(directory.write()),
                      ContainsSubstring("has shape (16, 24)") && ContainsSubstring("(24, 16)"));
  }
  SECTION("an embedding that the configuration contradicts") {
    directory.config["vocab_size"] = "12";
    CHECK_THROWS_WITH(open_model(directory.write()), ContainsSubstring("(11, 16)"));
  }
  SECTION("more layers than the files have tensors") {
    directory.config["num_hidden_layers"] = "5000";
    CHECK_THROWS_WITH(open_model(directory.write()), ContainsSubstring("5000 layers"));
  }
  SECTION("no head, though untied") {
    directory.tensors.erase("lm_head.weight");
    CHECK_THROWS_WITH(open_model(directory.write()), ContainsSubstring("tie_word_embeddings"));
  }
  SECTION("a head of its own, though tied") {
    directory.config["tie_word_embeddings"] = "true";
    CHECK_THROWS_WITH(open_model(directory.write()),
                      ContainsSubstring("differs from 'model.embed_tokens.weight'"));
    directory.tensors["lm_head.weight"] = directory.tensors["model.embed_tokens.weight"];
    const auto source = open_model(directory.write());  // a copy does no harm
    CHECK(all_weights(*source) == values(directory, in_order("llama", true)));
  }
  SECTION("NaN and infinity are damage, found when they are read") {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      directory.tensors["model.norm.weight"].values[3] = bad;
      const auto source = open_model(directory.write());
      CHECK_THROWS_WITH(all_weights(*source), ContainsSubstring("'model.norm.weight'"));
      CHECK_THROWS_AS(all_weights(*source), UserError);
    }
  }
}

TEST_CASE("shards and their index must agree") {
  HfDirectory directory;
  const std::string path = directory.write_sharded();
  const std::string index_path = directory.dir / "model.safetensors.index.json";
  const std::string index = read_file(index_path);
  const std::string second = directory.dir / "model-00002-of-00002.safetensors";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = index;
    const size_t at = changed.find(from);
    REQUIRE(at != std::string::npos);
    changed.replace(at, from.size(), to);
    write_file_atomically(index_path, changed);
  };
  SECTION("a shard is missing") {
    fs::remove(second);
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring(second + " is missing"));
  }
  SECTION("a shard is cut") {
    fs::resize_file(second, fs::file_size(second) - 1);
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring(second));
    fs::resize_file(second, 4);
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring(second));
  }
  SECTION("a shard is no safetensors") {
    write_file_atomically(second, std::string(1000, 'x'));
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring(second));
  }
  SECTION("a tensor in the wrong shard") {
    with("\"lm_head.weight\": \"model-00001", "\"lm_head.weight\": \"model-00002");
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring("'lm_head.weight'") &&
                                            ContainsSubstring("index and shards"));
  }
  SECTION("a tensor that no shard has") {
    with("\"weight_map\": {", "\"weight_map\": {\"x\": \"model-00001-of-00002.safetensors\", ");
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring("tensor 'x'"));
  }
  SECTION("a tensor that the index does not have") {
    with("\"lm_head.weight\": \"model-00001-of-00002.safetensors\", ", "");
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring("'lm_head.weight'"));
  }
  SECTION("files elsewhere are not opened") {
    for (const char* name : {"../model-00001-of-00002.safetensors", "/etc/passwd", "", ".."}) {
      with("\"lm_head.weight\": \"model-00001-of-00002.safetensors\"",
           fmt::format("\"lm_head.weight\": \"{}\"", name));
      CHECK_THROWS_WITH(open_model(path), ContainsSubstring("not the name of a file"));
    }
  }
  SECTION("no index at all") {
    for (const char* text : {"{}", "[]", "{\"weight_map\": 3}", "{\"weight_map\": {}}",
                             "{\"weight_map\": {\"a\": 1}}", "{\"weight_map\": {\"a\""}) {
      write_file_atomically(index_path, text);
      CHECK_THROWS_AS(open_model(path), UserError);
    }
    fs::remove(index_path);
    CHECK_THROWS_WITH(open_model(path), ContainsSubstring("neither model.safetensors nor"));
  }
  CHECK_THROWS_AS(open_model(path), UserError);
}

TEST_CASE("other kinds of weights are refused with what to do") {
  HfDirectory directory;
  directory.write_config();
  CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("no weights"));
  directory.put("model.gguf", "x");
  CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("name the file"));
  directory.put("consolidated.00.pth", "x");
  CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("safe_serialization"));
  directory.put("aaa.bin", "x");
  CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("aaa.bin"));
}

constexpr char kTokenizer[] = R"({"added_tokens": [{"id": 9, "content": "<end>"}],
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})";

TEST_CASE("tokenizer files travel with the model") {
  HfDirectory directory;
  directory.put("tokenizer.json", kTokenizer);
  directory.put("tokenizer_config.json", R"({"eos_token": "<end>", "n": 1.50})");
  directory.put("generation_config.json", R"({"eos_token_id": 9})");
  {
    const auto source = open_model(directory.write());
    const CheckpointInfo& info = source->info();
    CHECK(info.tokenizer_kind == "huggingface");
    CHECK(info.tokenizer_bytes == kTokenizer);
    CHECK(info.tokenizer_hash == hash_hex(std::string("huggingface\n") + kTokenizer));
    CHECK(info.companion(kTokenizerConfigFile) == R"({"eos_token": "<end>", "n": 1.50})");
    CHECK(info.companion(kGenerationConfigFile) == R"({"eos_token_id": 9})");
    CHECK(info.companion(kHfConfigFile) == directory.print_config());
  }
  SECTION("a chat template of its own file goes into the configuration") {
    directory.put("chat_template.jinja", "{{ 'é' }}\n");
    const std::string config =
        open_model(directory.dir.path())->info().companion(kTokenizerConfigFile);
    CHECK_THAT(config, ContainsSubstring(R"("chat_template": "{{ 'é' }}\n")") &&
                           ContainsSubstring(R"("eos_token": "<end>")"));
    directory.put("chat_template.jinja", "\xff");
    CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("not UTF-8"));
  }
  SECTION("ids that the embedding does not have") {
    directory.put("tokenizer.json", R"({"model": {"vocab": {"a": 0, "b": 11}}})");
    CHECK_THROWS_WITH(open_model(directory.dir.path()),
                      ContainsSubstring("12 tokens") && ContainsSubstring("vocab_size 11"));
    directory.put("tokenizer.json", R"({"added_tokens": [{"id": 11}], "model": {"vocab": {}}})");
    CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("12 tokens"));
    std::string unigram;
    for (int i = 0; i < 12; ++i) unigram += fmt::format("{}[\"{}\", -1.5]", i == 0 ? "" : ", ", i);
    directory.put("tokenizer.json", R"({"model": {"vocab": [)" + unigram + "]}}");
    CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("12 tokens"));
    directory.put("tokenizer.json",
                  R"({"model": {"id": 99, "vocab": {"a": 10}}, "x": [{"id": 99}]})");
    CHECK_NOTHROW(open_model(directory.dir.path()));
  }
  SECTION("damage") {
    for (const std::string& text :
         {std::string("{"), std::string("{\"a\": 1"), std::string(500, '['),
          std::string("{\"model\": {\"vocab\": {\"a\": 99999999999}}}")}) {
      directory.put("tokenizer.json", text);
      CHECK_THROWS_AS(open_model(directory.dir.path()), UserError);
    }
  }
  SECTION("SentencePiece alone") {
    fs::remove(directory.dir / "tokenizer.json");
    directory.put("tokenizer.model", std::string("\x0a\x00 pieces", 9));
    const auto source = open_model(directory.dir.path());
    CHECK(source->info().tokenizer_kind == "sentencepiece");
    CHECK(source->info().tokenizer_hash ==
          hash_hex("sentencepiece\n" + std::string("\x0a\x00 pieces", 9)));
    directory.put("tokenizer.model", "IQ== 0\nIg== 1\n");  // as Llama 3's original
    CHECK_THROWS_WITH(open_model(directory.dir.path()),
                      ContainsSubstring("no SentencePiece model"));
    fs::remove(directory.dir / "tokenizer.model");
    directory.put("vocab.json", "{}");
    CHECK_THROWS_WITH(open_model(directory.dir.path()), ContainsSubstring("tokenizer.json"));
  }
}

TEST_CASE("a converted model is the same model") {
  for (const DType type : {DType::F32, DType::BF16}) {
    CAPTURE(dtype_name(type));
    HfDirectory directory("qwen3");
    directory.set_all(type);
    directory.put("tokenizer.json", kTokenizer);
    directory.put("tokenizer_config.json", "{}");
    const auto source = open_model(directory.write_sharded());
    const TempDir out;
    CheckpointInfo info = source->info();
    info.pivot_version = "test";
    ThreadPool pool(3);
    int64_t seen = 0;
    const std::string path =
        save_checkpoint(out.path(), info, *source,
                        {.pool = &pool, .progress = [&](int64_t values) { seen += values; }});
    CHECK(path == out / "step_00000000");
    CHECK(seen == parameter_count(info.model));

    const auto again = open_model(out.path());
    CHECK(all_weights(*again) == all_weights(*source));
    CHECK(again->info().companions == info.companions);
    CHECK(again->info().tokenizer_bytes == kTokenizer);
    CHECK(again->info().tokenizer_kind == "huggingface");
    CHECK(fs::exists(path + "/tokenizer.json"));
    for (const ParamInfo& p : list_params(info.model)) CHECK(again->stored_type(p) == type);
    std::vector<float> flat(static_cast<size_t>(parameter_count(info.model)));
    read_checkpoint_tensors(path, info.model, TinyCheckpoint::flat(flat), {}, {});
    CHECK(flat == all_weights(*source));
    const int64_t bytes = static_cast<int64_t>(fs::file_size(path + "/model.h5"));
    const int64_t values = parameter_count(info.model);
    CHECK(bytes > values * static_cast<int64_t>(dtype_bytes(type)));
    if (type == DType::BF16) CHECK(bytes < values * 2 + 40000);
  }
}

TEST_CASE("the type of stored weights can be chosen") {
  HfDirectory directory;
  directory.tensors["model.norm.weight"].values[0] = 1.00390625F;  // between two BF16: to the even
  directory.put("tokenizer.json", kTokenizer);
  const auto source = open_model(directory.write());
  const TempDir out;
  save_checkpoint(out.path(), source->info(), *source, {.type = WeightType::BF16});
  const auto rounded = open_model(out.path());
  std::vector<float> expected = all_weights(*source);
  std::transform(expected.begin(), expected.end(), expected.begin(),
                 [](float x) { return to_float(to_bfloat16(x)); });
  CHECK(all_weights(*rounded) == expected);
  CHECK(all_weights(*rounded) != all_weights(*source));
  CHECK_THROWS_AS(save_checkpoint(out.path(), source->info(), *source, {.type = WeightType::F16}),
                  UserError);
  CHECK_THROWS_AS(parse_weight_type("q8_0"), UserError);
}

TEST_CASE("--model takes every kind of model") {
  const QuietLog quiet;
  HfDirectory directory;
  directory.put("tokenizer.json", kTokenizer);
  const std::string path = directory.write();
  const TempDir dir;
  CHECK(find_model(path) == path);
  TinyCheckpoint(3).save(dir / "run/checkpoints");
  CHECK(find_model(dir / "run") == dir / "run/checkpoints/step_00000003");
  CHECK(open_model(dir / "run")->info().state.step == 3);
  CHECK(open_model(dir / "run/checkpoints/step_00000003")->describe() ==
        "Pivot checkpoint, step 3, trained with topk:1%");
  fs::create_directories(dir / "empty");
  CHECK_THROWS_WITH(open_model(dir / "empty"), ContainsSubstring("found: nothing"));
  CHECK_THROWS_WITH(open_model(dir / "absent"), ContainsSubstring("does not exist"));
  CHECK_THROWS_WITH(open_model(path + "/model.safetensors"), ContainsSubstring("is a file"));
  write_file_atomically(dir / "x.gguf", "not one");
  CHECK_THROWS_WITH(open_model(dir / "x.gguf"), ContainsSubstring("x.gguf"));
}

}  // namespace
}  // namespace pivot::test
