#include "checkpoints/gguf/gguf_writer.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "checkpoints/gguf/blocks.h"
#include "checkpoints/gguf/file.h"
#include "checkpoints/gguf/gguf_source.h"
#include "checkpoints/gguf/rope.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "tests/checkpoints/gguf_build.h"
#include "tests/checkpoints/memory_source.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

CheckpointInfo byte_model() {
  CheckpointInfo info;
  info.model.vocab = 300;  // more rows than the 258 tokens
  info.model.dim = 32;
  info.model.layers = 2;
  info.model.heads = 6;
  info.model.kv_heads = 2;
  info.model.head_dim = 16;
  info.model.ffn_dim = 64;
  info.model.context = 96;
  info.model.norm_eps = 1e-6;
  info.model.rope_theta = 1e6;
  info.attention = "topk:1%";
  info.tokenizer_kind = "bytes";
  info.config_toml = "seed = 1\n";
  info.pivot_version = "test";
  info.state.step = 12;
  return info;
}

void check_same(const ModelConfig& a, const ModelConfig& b) {
  std::vector<std::string> left, right;
  const auto list = [](ModelConfig c, std::vector<std::string>& out) {
    const auto add = [&](const char* name, const auto& value, const char*) {
      out.push_back(fmt::format("{} = {}", name, value));
    };
    struct Visitor {
      decltype(add)& f;
      void operator()(const char* name, const std::string& v, const char* h) { f(name, v, h); }
      void operator()(const char* name, int64_t v, const char* h) { f(name, v, h); }
      void operator()(const char* name, int v, const char* h) { f(name, v, h); }
      void operator()(const char* name, double v, const char* h) { f(name, v, h); }
      void operator()(const char* name, bool v, const char* h) { f(name, v, h); }
      void group(const char*, RopeScaling& s) { s.visit(*this); }
    };
    c.visit(Visitor{add});
  };
  list(a, left);
  list(b, right);
  CHECK(left == right);
}

TEST_CASE("what is written is read back: configuration, weights, provenance") {
  for (const char* architecture : {"llama", "qwen2", "qwen3"}) {
    for (const bool tied : {false, true}) {
      CAPTURE(architecture, tied);
      const TempDir dir;
      CheckpointInfo info = byte_model();
      info.model.tied_embeddings = tied;
      info.model.qkv_bias = architecture == std::string("qwen2");
      info.model.qk_norm = architecture == std::string("qwen3");
      const MemorySource source(info);
      write_gguf(source, dir / "x.gguf", GgufFormat::F32);
      CHECK(GgufFile(dir / "x.gguf").text("general.architecture") == architecture);
      const auto read = open_gguf(dir / "x.gguf");
      check_same(read->info().model, info.model);
      CHECK(all_weights(*read) == source.weights);
      CHECK(read->info().attention == "topk:1%");
      CHECK(read->info().config_toml == info.config_toml);
      CHECK(read->info().pivot_version == "test");
      CHECK(read->info().state.step == 12);
      CHECK(read->info().tokenizer_kind == "huggingface");
      CHECK_FALSE(std::filesystem::exists(dir / "x.gguf.tmp"));
    }
  }
}

TEST_CASE("matrices take the format, vectors stay F32") {
  for (const GgufFormat format : {GgufFormat::F16, GgufFormat::BF16, GgufFormat::Q8_0}) {
    const TempDir dir;
    const MemorySource source(byte_model());
    write_gguf(source, dir / "x.gguf", format);
    const GgufFile file(dir / "x.gguf");
    for (const auto& [name, tensor] : file.tensors()) {
      const bool vector = tensor.shape.size() == 1;
      CHECK((std::string(tensor.type->name) == "F32") == vector);
    }
    const auto read = open_gguf(dir / "x.gguf");
    const std::vector<float> got = all_weights(*read);
    if (format != GgufFormat::Q8_0) {
      CHECK(got == source.weights);  // multiples of 1/64 fit
      continue;
    }
    // Half a step of a block whose largest value is at most 2, and the rounding of the step.
    for (size_t i = 0; i < got.size(); ++i) {
      REQUIRE(std::fabs(got[i] - source.weights[i]) <= 2.0 / 127 / 2 + 2.0 / 1024);
    }
  }
}

TEST_CASE("files are the format, byte for byte") {
  const TempDir dir;
  const MemorySource source(byte_model());
  write_gguf(source, dir / "x.gguf", GgufFormat::F32);
  const GgufFile file(dir / "x.gguf");
  // Row 1 of the first query head lies where the interleaved order has it: third of four rows that
  // the file begins with 0, D/2, 1, 1 + D/2.
  const GgufTensorInfo& q = file.tensors().find("blk.1.attn_q.weight")->second;
  CHECK(q.shape == std::vector<int64_t>{96, 32});
  CHECK(q.begin % 32 == 0);
  const ParamInfo* param = nullptr;
  const std::vector<ParamInfo> params = list_params(source.info().model);
  for (const ParamInfo& p : params) {
    if (p.name == "layers.1.qkv.weight") param = &p;
  }
  REQUIRE(param != nullptr);
  std::vector<float> stored(96 * 32);
  dequantize(GgufType::F32, file.bytes(q).data(), 96 * 32, stored.data());
  const int order[4] = {0, 8, 1, 9};
  for (int row = 0; row < 4; ++row) {
    for (int i = 0; i < 32; ++i) {
      REQUIRE(stored[static_cast<size_t>(row * 32 + i)] ==
              source.weights[static_cast<size_t>(param->offset + order[row] * 32 + i)]);
    }
  }
}

TEST_CASE("RoPE scaling survives") {
  const TempDir dir;
  CheckpointInfo info = byte_model();
  info.model.rope_scaling = {.type = "linear", .factor = 4};
  write_gguf(MemorySource(info), dir / "linear.gguf", GgufFormat::BF16);
  check_same(open_gguf(dir / "linear.gguf")->info().model, info.model);

  // Parameters that the tensor alone would not tell.
  info.model.rope_scaling = {.type = "llama3",
                             .factor = 3,
                             .low_freq_factor = 1.5,
                             .high_freq_factor = 2.5,
                             .original_context = 700};
  write_gguf(MemorySource(info), dir / "llama3.gguf", GgufFormat::BF16);
  check_same(open_gguf(dir / "llama3.gguf")->info().model, info.model);
  CHECK(GgufFile(dir / "llama3.gguf").tensors().contains("rope_freqs.weight"));

  for (const double attention : {0.0, 1.0}) {
    CheckpointInfo yarn = byte_model();
    yarn.model.rope_scaling = {.type = "yarn",
                               .factor = 8,
                               .original_context = 64,
                               .beta_slow = 2,
                               .attention_factor = attention};
    write_gguf(MemorySource(yarn), dir / "yarn.gguf", GgufFormat::BF16);
    const RopeScaling read = open_gguf(dir / "yarn.gguf")->info().model.rope_scaling;
    CHECK(rope_attention_factor(read) ==
          Approx(rope_attention_factor(yarn.model.rope_scaling)).epsilon(1e-7));
    CHECK(rope_frequencies(16, 1e6, read) == rope_frequencies(16, 1e6, yarn.model.rope_scaling));
    yarn.model.rope_scaling.truncate = false;
    CHECK_THROWS_WITH(write_gguf(MemorySource(yarn), dir / "no.gguf", GgufFormat::BF16),
                      ContainsSubstring("without truncation"));
  }

  info.model.qk_norm = true;
  CHECK_THROWS_WITH(write_gguf(MemorySource(info), dir / "no.gguf", GgufFormat::BF16),
                    ContainsSubstring("llama3 RoPE scaling"));
}

TEST_CASE("byte tokenizers become byte-level vocabularies") {
  const TempDir dir;
  write_gguf(MemorySource(byte_model()), dir / "x.gguf", GgufFormat::Q8_0);
  const GgufFile file(dir / "x.gguf");
  const std::vector<std::string_view> tokens = file.texts("tokenizer.ggml.tokens");
  REQUIRE(tokens.size() == 300);
  CHECK(tokens['A'] == "A");
  CHECK(tokens[' '] == "\xC4\xA0");   // U+0120
  CHECK(tokens['\n'] == "\xC4\x8A");  // U+010A
  CHECK(tokens[0xFF] == "\xC3\xBF");  // U+00FF
  CHECK(tokens[0xAD] == "\xC5\x83");  // U+0143, the last of those that do not print
  CHECK(tokens[257] == "</s>");
  CHECK(tokens[299] == "[PAD299]");
  CHECK(file.integer("tokenizer.ggml.eos_token_id") == 257);
}

TEST_CASE("tokenizers of GGUF files go round") {
  const TempDir dir;
  GgufBytes g = tiny_gguf();
  g.text("tokenizer.chat_template", "{{ messages }}");
  g.u32("tokenizer.ggml.bos_token_id", 7);
  g.u32("tokenizer.ggml.eot_token_id", 3);
  g.flag("tokenizer.ggml.add_bos_token", true);
  for (const char* pre : {"qwen2", "llama-bpe", "smollm", "gpt-2", "default"}) {
    g.text("tokenizer.ggml.pre", pre);
    g.save(dir / "a.gguf");
    const auto a = open_gguf(dir / "a.gguf");
    write_gguf(*a, dir / "b.gguf", GgufFormat::F32);
    const auto b = open_gguf(dir / "b.gguf");
    CHECK(a->info().tokenizer_bytes == b->info().tokenizer_bytes);
    CHECK(a->info().tokenizer_hash == b->info().tokenizer_hash);
    CHECK(a->info().companions == b->info().companions);
    CHECK(all_weights(*a) == all_weights(*b));
  }
}

TEST_CASE("SentencePiece vocabularies go round") {
  const TempDir dir;
  for (const char* model : {"llama", "t5"}) {
    GgufBytes g = tiny_gguf();
    g.erase("tokenizer.ggml.pre");
    g.erase("tokenizer.ggml.merges");
    g.text("tokenizer.ggml.model", model);
    g.texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "b", "ab",
                                      "\xE2\x96\x81"
                                      "ab"});
    g.i32s("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1, 1, 1});
    g.f32s("tokenizer.ggml.scores", {0, 0, 0, -3, -4, -5, -1, -2});
    g.u32("tokenizer.ggml.unknown_token_id", 0);
    g.u32("tokenizer.ggml.bos_token_id", 1);
    g.u32("tokenizer.ggml.eos_token_id", 2);
    g.save(dir / "a.gguf");
    const auto a = open_gguf(dir / "a.gguf");
    write_gguf(*a, dir / "b.gguf", GgufFormat::F32);
    const auto b = open_gguf(dir / "b.gguf");
    CHECK(a->info().tokenizer_bytes == b->info().tokenizer_bytes);
    CHECK(a->info().companions == b->info().companions);
    const GgufFile file(dir / "b.gguf");
    CHECK(file.text("tokenizer.ggml.model") == model);
    CHECK_FALSE(file.has("tokenizer.ggml.merges"));
  }
}

// A model file written by hand: two pieces, BPE, no dummy prefix.
TEST_CASE("SentencePiece model files become vocabularies") {
  const TempDir dir;
  const auto piece = [](const std::string& text, float score, int type) {
    const std::string body = "\x0a" + std::string(1, static_cast<char>(text.size())) + text +
                             "\x15" + little(score) + "\x18" +
                             std::string(1, static_cast<char>(type));
    return "\x0a" + std::string(1, static_cast<char>(body.size())) + body;
  };
  std::string model = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) +
                      piece("a", -2, 1) + piece("b", -3, 1) + piece("ab", -1, 1);
  const std::string trainer = "\x18\x02";                             // model_type BPE
  const std::string normalizer = std::string("\x18\x00\x20\x00", 4);  // neither prefix nor trimming
  model += "\x12" + std::string(1, static_cast<char>(trainer.size())) + trainer;
  model += "\x1a" + std::string(1, static_cast<char>(normalizer.size())) + normalizer;
  CheckpointInfo info = byte_model();
  info.model.vocab = 8;
  info.tokenizer_kind = "sentencepiece";
  info.tokenizer_bytes = model;
  write_gguf(MemorySource(info), dir / "x.gguf", GgufFormat::F32);
  const GgufFile file(dir / "x.gguf");
  CHECK(file.text("tokenizer.ggml.model") == "llama");
  CHECK(file.texts("tokenizer.ggml.tokens")[5] == "ab");
  CHECK(file.floats("tokenizer.ggml.scores")[4] == -3);
  CHECK(file.integers("tokenizer.ggml.token_type") == std::vector<int64_t>{2, 3, 3, 1, 1, 1, 5, 5});
  CHECK(file.flag("tokenizer.ggml.add_space_prefix") == false);
  CHECK(file.integer("tokenizer.ggml.bos_token_id") == 1);
  CHECK_NOTHROW(open_gguf(dir / "x.gguf"));
  for (size_t size = 1; size < model.size(); ++size) {
    info.tokenizer_bytes = model.substr(0, size);
    CAPTURE(size);
    try {
      write_gguf(MemorySource(info), dir / "cut.gguf", GgufFormat::F32);
    } catch (const UserError&) {
    }
  }
}

TEST_CASE("what GGUF cannot hold is refused, and the old file stays") {
  const TempDir dir;
  const std::string path = dir / "x.gguf";
  write_file_atomically(path, "old");
  const auto fails = [&](const CheckpointInfo& info, GgufFormat format, const std::string& why) {
    CHECK_THROWS_WITH(write_gguf(MemorySource(info), path, format), ContainsSubstring(why));
    CHECK(read_file(path) == "old");
  };
  CheckpointInfo info = byte_model();
  info.model.qkv_bias = info.model.qk_norm = true;
  fails(info, GgufFormat::F32, "both a bias");
  info = byte_model();
  info.model.dim = 40;
  fails(info, GgufFormat::Q8_0, "needs multiples of 32");
  info = byte_model();
  info.model.vocab = 257;
  fails(info, GgufFormat::F32, "258 tokens, the embedding 257 rows");
  info = byte_model();
  info.tokenizer_kind = "abacus";
  fails(info, GgufFormat::F32, "of kind 'abacus'");
  info.tokenizer_kind = "huggingface";
  info.tokenizer_bytes = "{";
  fails(info, GgufFormat::F32, "damaged");
  info.tokenizer_bytes = R"({"model":{"type":"WordPiece"}})";
  fails(info, GgufFormat::F32, "this kind of model");

  MemorySource bad(byte_model());
  bad.weights.back() = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(write_gguf(bad, path, GgufFormat::F32), ContainsSubstring("not finite"));
  CHECK(read_file(path) == "old");
  CHECK_FALSE(std::filesystem::exists(path + ".tmp"));

  CHECK(parse_gguf_format("q8_0") == GgufFormat::Q8_0);
  CHECK_THROWS_WITH(parse_gguf_format("q3"), ContainsSubstring("f32, f16, bf16, q8_0"));
}

}  // namespace
}  // namespace pivot::test
