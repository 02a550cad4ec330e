#include "checkpoints/gguf/gguf_source.h"

#include <cmath>
#include <functional>
#include <limits>

#include "checkpoints/gguf/layout.h"
#include "src/base/check.h"
#include "tests/checkpoints/gguf_build.h"
#include "tests/checkpoints/memory_source.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

std::unique_ptr<ModelSource> open(const GgufBytes& g) {
  static const TempDir dir;
  g.save(dir / "x.gguf");
  return open_gguf(dir / "x.gguf");
}

void refused(const std::function<void(GgufBytes&)>& change, const std::string& why,
             const std::string& architecture = "llama") {
  GgufBytes g = tiny_gguf(architecture);
  change(g);
  CAPTURE(why);
  CHECK_THROWS_AS(open(g), UserError);
  CHECK_THROWS_WITH(open(g), ContainsSubstring("x.gguf") && ContainsSubstring(why));
}

std::vector<float> read(const ModelSource& source, const std::string& name, int64_t begin = 0,
                        int64_t end = -1) {
  for (const ParamInfo& param : list_params(source.info().model)) {
    if (param.name != name) continue;
    if (end < 0) end = param.shape[0];
    std::vector<float> out(
        static_cast<size_t>((end - begin) * param.shape.count() / param.shape[0]));
    source.read(param, begin, end, out.data());
    return out;
  }
  FAIL("no parameter " << name);
  return {};
}

std::vector<float> floats_of(GgufBytes& g, const std::string& tensor) {
  const std::string& data = g.tensor(tensor).data;
  std::vector<float> values(data.size() / sizeof(float));
  std::memcpy(values.data(), data.data(), data.size());
  return values;
}

TEST_CASE("metadata become a configuration") {
  const auto source = open(tiny_gguf());
  const ModelConfig& c = source->info().model;
  CHECK(c.vocab == 8);
  CHECK(c.dim == 16);
  CHECK(c.layers == 1);
  CHECK(c.heads == 2);
  CHECK(c.kv_heads == 1);
  CHECK(c.head_dim == 8);
  CHECK(c.ffn_dim == 24);
  CHECK(c.norm_eps == 1e-5);
  CHECK(c.rope_theta == 500000);
  CHECK(c.rope_scaling.type == "none");
  CHECK(c.context == 128);
  CHECK(c.tied_embeddings);
  CHECK_FALSE(c.qkv_bias);
  CHECK_FALSE(c.qk_norm);
  CHECK(source->info().attention == "dense");
  CHECK(source->describe() == "GGUF llama, F32, 11 tensors");

  CHECK(open(tiny_gguf("qwen2"))->info().model.qkv_bias);
  CHECK(open(tiny_gguf("qwen3"))->info().model.qk_norm);
  GgufBytes untied = tiny_gguf();
  untied.floats("output.weight", {16, 8}, std::vector<float>(128, 3));
  CHECK_FALSE(open(untied)->info().model.tied_embeddings);
  CHECK(read(*open(untied), "head.weight") == std::vector<float>(128, 3));

  GgufBytes arrays = tiny_gguf();  // one number for each layer
  arrays.i32s("llama.attention.head_count_kv", {1});
  arrays.i32s("llama.feed_forward_length", {24});
  CHECK(open(arrays)->info().model.kv_heads == 1);
}

TEST_CASE("parameters are tensors, fused") {
  GgufBytes g = tiny_gguf("qwen2");
  const auto source = open(g);
  const auto joined = [&](std::initializer_list<const char*> names) {
    std::vector<float> all;
    for (const char* name : names) {
      const std::vector<float> part = floats_of(g, name);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  };
  CHECK(read(*source, "embed.weight") == joined({"token_embd.weight"}));
  CHECK(read(*source, "layers.0.qkv.weight") ==
        joined({"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}));
  CHECK(read(*source, "layers.0.qkv.bias") ==
        joined({"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"}));
  CHECK(read(*source, "layers.0.attn_out.weight") == joined({"blk.0.attn_output.weight"}));
  CHECK(read(*source, "layers.0.gate_up.weight") ==
        joined({"blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"}));
  CHECK(read(*source, "layers.0.down.weight") == joined({"blk.0.ffn_down.weight"}));
  CHECK(read(*source, "norm.weight") == joined({"output_norm.weight"}));
}

TEST_CASE("llama's query and key heads are put in order, whatever the rows asked for") {
  GgufBytes g = tiny_gguf("llama");
  const auto source = open(g);
  const std::vector<float> q = floats_of(g, "blk.0.attn_q.weight");
  const std::vector<float> k = floats_of(g, "blk.0.attn_k.weight");
  const std::vector<float> v = floats_of(g, "blk.0.attn_v.weight");
  // Heads of 8: the file has channels 0 4 1 5 2 6 3 7.
  const int from[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<float> expected;
  for (int head = 0; head < 2; ++head) {
    for (const int row : from) {
      expected.insert(expected.end(), q.begin() + (8 * head + row) * 16,
                      q.begin() + (8 * head + row + 1) * 16);
    }
  }
  for (const int row : from) {
    expected.insert(expected.end(), k.begin() + row * 16, k.begin() + (row + 1) * 16);
  }
  expected.insert(expected.end(), v.begin(), v.end());
  CHECK(read(*source, "layers.0.qkv.weight") == expected);
  for (int64_t begin = 0; begin < 32; ++begin) {
    for (int64_t end = begin; end <= 32; ++end) {
      CAPTURE(begin, end);
      const std::vector<float> part(expected.begin() + begin * 16, expected.begin() + end * 16);
      REQUIRE(read(*source, "layers.0.qkv.weight", begin, end) == part);
    }
  }
}

TEST_CASE("the order of rows and its inverse") {
  for (const int64_t head_dim : {8, 64, 80}) {
    for (int64_t row = 0; row < 3 * head_dim; ++row) {
      CHECK(pivot_row(HeadRows::Interleaved, gguf_row(HeadRows::Interleaved, row, head_dim),
                      head_dim) == row);
      CHECK(gguf_row(HeadRows::Half, row, head_dim) == row);
    }
    // Channels that turn together are neighbours there.
    CHECK(gguf_row(HeadRows::Interleaved, 1 + head_dim / 2, head_dim) == 3);
    CHECK(gguf_row(HeadRows::Interleaved, 1, head_dim) == 2);
  }
}

TEST_CASE("tensors of every float type") {
  GgufBytes g = tiny_gguf();
  GgufEntry& norm = g.tensor("output_norm.weight");
  norm.type = 30;
  norm.data.clear();
  for (int i = 0; i < 16; ++i) norm.data += little(to_bfloat16(static_cast<float>(i) + 0.5F));
  const auto source = open(g);
  const std::vector<float> values = read(*source, "norm.weight", 3, 5);
  CHECK(values == std::vector<float>{3.5F, 4.5F});
  CHECK(source->describe() == "GGUF llama, F32 and BF16, 11 tensors");
}

TEST_CASE("what Pivot cannot compute is refused by name") {
  refused([](GgufBytes& g) { g.text("general.architecture", "gemma2"); },
          "architecture 'gemma2' is not one that Pivot computes: llama, qwen2, qwen3");
  refused([](GgufBytes& g) { g.erase("general.architecture"); }, "'general.architecture'");
  refused([](GgufBytes& g) { g.u32("llama.expert_count", 8); }, "mixture of experts");
  refused([](GgufBytes& g) { g.f32("llama.logit_scale", 8); }, "'llama.logit_scale' is not known");
  refused([](GgufBytes& g) { g.flag("llama.attention.causal", false); }, "not causal");
  refused([](GgufBytes& g) { g.u32("llama.rope.dimension_count", 4); },
          "rope.dimension_count' is 4");
  refused([](GgufBytes& g) { g.u32("llama.attention.value_length", 16); }, "value_length' is 16");
  refused([](GgufBytes& g) { g.text("llama.rope.scaling.type", "longrope"); }, "'longrope'");
  refused([](GgufBytes& g) { g.i32s("llama.attention.head_count_kv", {1, 2}); }, "layer to layer");
}

TEST_CASE("absurd configurations are refused") {
  const char* const kCounts[] = {
      "block_count",          "embedding_length",        "feed_forward_length",
      "attention.head_count", "attention.head_count_kv", "context_length"};
  for (const char* name : kCounts) {
    CAPTURE(name);
    const std::string key = std::string("llama.") + name;
    refused([&](GgufBytes& g) { g.u32(key, 0); }, key);
    refused([&](GgufBytes& g) { g.u32(key, ~0U); }, key);
    refused([&](GgufBytes& g) { g.f32(key, 1); }, key);
    refused([&](GgufBytes& g) { g.set(key, 11, little(int64_t{-1})); }, key);
    if (key != "llama.attention.head_count_kv") {
      refused([&](GgufBytes& g) { g.erase(key); }, key);
    }
  }
  refused([](GgufBytes& g) { g.u32("llama.block_count", 1 << 23); }, "tensors in all");
  refused([](GgufBytes& g) { g.u32("llama.attention.key_length", 1 << 24); }, "absurd");
  refused([](GgufBytes& g) { g.u32("llama.attention.head_count", 3); }, "not a multiple");
  refused([](GgufBytes& g) { g.u32("llama.vocab_size", 9); }, "the embedding has 8 rows");
  refused([](GgufBytes& g) { g.erase("llama.attention.layer_norm_rms_epsilon"); }, "rms_epsilon");
  refused([](GgufBytes& g) { g.f32("llama.attention.layer_norm_rms_epsilon", 0); }, "norm_eps");
  refused([](GgufBytes& g) { g.f32("llama.rope.freq_base", std::nanf("")); }, "not finite");
  refused([](GgufBytes& g) { g.f32("llama.rope.freq_base", 0.5F); }, "rope_theta");
}

TEST_CASE("tensors must be there, known, of the right shape and type") {
  refused([](GgufBytes& g) { g.erase("token_embd.weight"); }, "'token_embd.weight' is missing");
  refused([](GgufBytes& g) { g.erase("blk.0.attn_k.weight"); }, "'blk.0.attn_k.weight' is missing");
  refused([](GgufBytes& g) { g.erase("blk.0.attn_v.bias"); }, "'blk.0.attn_v.bias' is missing",
          "qwen2");
  refused([](GgufBytes& g) { g.erase("blk.0.attn_k_norm.weight"); }, "attn_k_norm.weight' is miss",
          "qwen3");
  refused([](GgufBytes& g) { g.floats("blk.0.attn_output.bias", {16}, std::vector<float>(16)); },
          "'blk.0.attn_output.bias' is not part of a llama model");
  refused(
      [](GgufBytes& g) {
        g.tensor("blk.0.ffn_up.weight").dims = {24, 16};
      },
      "'blk.0.ffn_up.weight' has shape (16, 24), the metadata asks for (24, 16)");
  refused([](GgufBytes& g) { g.tensor("output_norm.weight").dims = {16, 1}; }, "(1, 16)");
  refused([](GgufBytes& g) { g.tensor("token_embd.weight").dims = {128}; }, "not a matrix");
  refused([](GgufBytes& g) { g.u32("llama.block_count", 2); }, "'blk.1.attn_norm.weight'");
  refused([](GgufBytes& g) { g.tensor("output_norm.weight").type = 26; }, "is I32, which Pivot");
  refused(
      [](GgufBytes& g) {
        g.tensor("output_norm.weight") = {"output_norm.weight", {32}, 8, std::string(34, '\0')};
      },
      "has shape (32)");
}

TEST_CASE("a quantised type that cannot be read is named") {
  GgufBytes g = tiny_gguf();
  // 256 columns, so that blocks of 256 fit.
  g.tensors.clear();
  g.u32("llama.embedding_length", 256);
  g.u32("llama.attention.key_length", 8);
  g.tensors.push_back({"token_embd.weight", {256, 8}, 10, std::string(8 * 84, '\0')});
  const auto zeros = [&](const char* name, uint64_t columns, uint64_t rows) {
    std::vector<uint64_t> dims = {columns};
    if (rows > 0) dims.push_back(rows);
    g.floats(name, dims, std::vector<float>(columns * std::max<uint64_t>(rows, 1)));
  };
  zeros("blk.0.attn_norm.weight", 256, 0);
  zeros("blk.0.attn_q.weight", 256, 16);
  zeros("blk.0.attn_k.weight", 256, 8);
  zeros("blk.0.attn_v.weight", 256, 8);
  zeros("blk.0.attn_output.weight", 16, 256);
  zeros("blk.0.ffn_norm.weight", 256, 0);
  zeros("blk.0.ffn_gate.weight", 256, 24);
  zeros("blk.0.ffn_up.weight", 256, 24);
  zeros("blk.0.ffn_down.weight", 24, 256);
  zeros("output_norm.weight", 256, 0);
  CHECK_THROWS_WITH(open(g), ContainsSubstring("'token_embd.weight' is Q2_K, which Pivot cannot"));
  g.tensor("token_embd.weight").type = 14;
  g.tensor("token_embd.weight").data.resize(8 * 210, '\0');
  CHECK(read(*open(g), "embed.weight") == std::vector<float>(8 * 256, 0.0F));
  GgufEntry& norm = g.tensor("output_norm.weight");
  norm.type = 8;
  norm.data.resize(8 * 34);
  CHECK_THROWS_WITH(open(g), ContainsSubstring("vectors only as F32, F16 or BF16"));
}

TEST_CASE("weights that are not finite are damage") {
  GgufBytes g = tiny_gguf();
  g.tensor("blk.0.ffn_up.weight")
      .data.replace(16 * 4, 4, little(std::numeric_limits<float>::quiet_NaN()));
  const auto source = open(g);
  CHECK_NOTHROW(read(*source, "layers.0.gate_up.weight", 0, 24));
  CHECK_NOTHROW(read(*source, "layers.0.gate_up.weight", 26, 48));
  CHECK_THROWS_WITH(read(*source, "layers.0.gate_up.weight"),
                    ContainsSubstring("'blk.0.ffn_up.weight' holds values that are not finite"));
}

TEST_CASE("a sliding window caps the context") {
  const QuietLog quiet;
  GgufBytes g = tiny_gguf();
  g.u32("llama.attention.sliding_window", 32);
  CHECK(open(g)->info().model.context == 32);
  g.u32("llama.attention.sliding_window", 4096);
  CHECK(open(g)->info().model.context == 128);
}

TEST_CASE("yarn") {
  GgufBytes g = tiny_gguf();
  g.text("llama.rope.scaling.type", "yarn");
  g.f32("llama.rope.scaling.factor", 4);
  g.u32("llama.rope.scaling.original_context_length", 32);
  RopeScaling s = open(g)->info().model.rope_scaling;
  CHECK(s.type == "yarn");
  CHECK(s.factor == 4);
  CHECK(s.original_context == 32);
  CHECK(s.beta_fast == 32);
  CHECK(s.beta_slow == 1);
  CHECK(s.truncate);
  CHECK(rope_attention_factor(s) == Approx(1 + 0.1 * std::log(4.0)));
  g.f32("llama.rope.scaling.attn_factor", 0.5F);
  g.f32("llama.rope.scaling.yarn_beta_fast", 16);
  g.erase("llama.rope.scaling.original_context_length");
  s = open(g)->info().model.rope_scaling;
  CHECK(s.beta_fast == 16);
  CHECK(s.original_context == 128);  // the context, where it is not given
  CHECK(rope_attention_factor(s) == Approx((1 + 0.1 * std::log(4.0)) / 2));
  for (const char* name : {"yarn_ext_factor", "yarn_attn_factor", "yarn_log_multiplier"}) {
    GgufBytes bad = g;
    bad.f32(std::string("llama.rope.scaling.") + name, 0.7F);
    CHECK_THROWS_WITH(open(bad), ContainsSubstring(std::string(name) + "' is 0.7"));
  }
  g.f32("llama.rope.scaling.attn_factor", 0);
  CHECK_THROWS_WITH(open(g), ContainsSubstring("attn_factor' is 0"));
}

TEST_CASE("parameters say whether BF16 holds them") {
  GgufBytes g = tiny_gguf();
  const auto type_of = [](const ModelSource& source, const std::string& name) {
    for (const ParamInfo& param : list_params(source.info().model)) {
      if (param.name == name) return source.stored_type(param);
    }
    FAIL("no parameter " << name);
    return DType::F32;
  };
  for (const char* name : {"blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"}) {
    g.tensor(name).type = 30;
    g.tensor(name).data.resize(16 * 24 * 2);
    CHECK((type_of(*open(g), "layers.0.gate_up.weight") == DType::BF16) ==
          (name == std::string("blk.0.ffn_up.weight")));
  }
  CHECK(type_of(*open(g), "layers.0.down.weight") == DType::F32);
}

TEST_CASE("RoPE scaling") {
  GgufBytes g = tiny_gguf();
  g.text("llama.rope.scaling.type", "linear");
  g.f32("llama.rope.scaling.factor", 2.5F);
  CHECK(open(g)->info().model.rope_scaling.type == "linear");
  CHECK(open(g)->info().model.rope_scaling.factor == 2.5);
  refused(
      [](GgufBytes& bad) {
        bad.text("llama.rope.scaling.type", "linear");
        bad.f32("llama.rope.scaling.factor", -1);
      },
      "scaling.factor' is -1");

  // Theta 500000 and heads of 8: wavelengths 6.3, 167, 4443 and 118143; the third is blended.
  const double context = 8192;
  const double wavelength = 2 * 3.14159265358979323846 * std::pow(500000.0, 0.5);
  const double blend = (context / wavelength - 1) / 3;
  const auto third = static_cast<float>(1 / ((1 - blend) / 32 + blend));
  GgufBytes llama3 = tiny_gguf();
  llama3.floats("rope_freqs.weight", {4}, {1, 1, third, 32});
  const RopeScaling scaling = open(llama3)->info().model.rope_scaling;
  CHECK(scaling.type == "llama3");
  CHECK(scaling.factor == 32);
  CHECK(scaling.low_freq_factor == 1);
  CHECK(scaling.high_freq_factor == 4);
  CHECK(scaling.original_context == 8192);

  const auto factors = [](std::vector<float> values) {
    return [values](GgufBytes& bad) { bad.floats("rope_freqs.weight", {values.size()}, values); };
  };
  refused(factors({1, 1, third + 0.01F, 32}), "Pivot does not know this scaling");
  refused(factors({1, 2, third, 32}), "Pivot does not know this scaling");
  refused(factors({1, 1, std::nanf(""), 32}), "Pivot does not know this scaling");
  refused(factors({1, 1, third}), "must be 4 F32");
  refused(
      [&](GgufBytes& bad) {
        factors({1, 1, third, 32})(bad);
        bad.text("llama.rope.scaling.type", "linear");
        bad.f32("llama.rope.scaling.factor", 2);
      },
      "both 'linear' scaling and tensor");
  GgufBytes ones = tiny_gguf();
  ones.floats("rope_freqs.weight", {4}, {1, 1, 1, 1});
  CHECK(open(ones)->info().model.rope_scaling.type == "none");
}

}  // namespace
}  // namespace pivot::test
