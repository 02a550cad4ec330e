#include <nlohmann/json.hpp>

#include "checkpoints/hf/config.h"
#include "src/base/check.h"
#include "src/base/options.h"
#include "tests/checkpoints/hf_directory.h"
#include "tests/support/catch.h"

namespace pivot::test {
namespace {

using Config = std::map<std::string, std::string>;

Config small(const std::string& family = "llama") {
  return HfDirectory(family).config;
}

HfConfig read(const Config& config) {
  HfDirectory directory;
  directory.config = config;
  return read_hf_config(directory.print_config(), "config.json");
}

std::string text(ModelConfig model) {
  return to_toml(option_fields(model), TomlComments::None);
}

TEST_CASE("config.json becomes a configuration") {
  const HfConfig found = read(small());
  CHECK(found.family == "llama");
  CHECK(found.attention == "dense");
  CHECK(found.warning.empty());
  const ModelConfig& c = found.model;
  CHECK(c.vocab == 11);
  CHECK(c.dim == 16);
  CHECK(c.ffn_dim == 24);
  CHECK(c.layers == 2);
  CHECK(c.heads == 2);
  CHECK(c.kv_heads == 1);
  CHECK(c.head_dim == 8);
  CHECK(c.context == 64);
  CHECK(c.norm_eps == 1e-5);
  CHECK(c.rope_theta == 10000);
  CHECK(c.rope_scaling.type == "none");
  CHECK_FALSE(c.tied_embeddings);
  CHECK_FALSE(c.qkv_bias);
  CHECK_FALSE(c.qk_norm);
  CHECK(read(small("qwen2")).model.qkv_bias);
  CHECK(read(small("qwen3")).model.qk_norm);
  CHECK(read(small("mistral")).family == "mistral");
}

TEST_CASE("absent keys have the defaults of transformers") {
  Config config = small();
  for (const char* key :
       {"num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta",
        "tie_word_embeddings", "hidden_act", "model_type"}) {
    config.erase(key);
  }
  const ModelConfig c = read(config).model;
  CHECK(c.kv_heads == 2);
  CHECK(c.head_dim == 8);
  CHECK(c.context == 2048);
  CHECK(c.norm_eps == 1e-6);
  CHECK(c.rope_theta == 10000);
  CHECK_FALSE(c.tied_embeddings);

  Config qwen3 = small("qwen3");
  qwen3.erase("head_dim");
  CHECK(read(qwen3).model.head_dim == 128);
  Config null = small();
  null["head_dim"] = "null";
  null["num_key_value_heads"] = "null";
  CHECK(read(null).model.head_dim == 8);
  CHECK(read(null).model.kv_heads == 2);
}

TEST_CASE("rotary settings in the spelling of transformers 4 and 5") {
  Config config = small();
  SECTION("4: llama3") {
    config["rope_theta"] = "500000.0";
    config["rope_scaling"] =
        R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192})";
    const ModelConfig c = read(config).model;
    CHECK(c.rope_theta == 500000);
    CHECK(c.rope_scaling.type == "llama3");
    CHECK(c.rope_scaling.factor == 8);
    CHECK(c.rope_scaling.original_context == 8192);
  }
  SECTION("4: linear, by its old name") {
    config["rope_scaling"] = R"({"type": "linear", "factor": 2})";
    CHECK(read(config).model.rope_scaling.type == "linear");
    CHECK(read(config).model.rope_scaling.factor == 2);
  }
  SECTION("5: the base frequency is inside") {
    config.erase("rope_theta");
    config["rope_parameters"] = R"({"rope_type": "default", "rope_theta": 1000000.0})";
    CHECK(read(config).model.rope_theta == 1000000);
    CHECK(read(config).model.rope_scaling.type == "none");
  }
  SECTION("5: yarn with everything") {
    config["rope_parameters"] =
        R"({"rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0, "beta_fast": 16, "beta_slow": 2,
            "mscale": 0.7, "mscale_all_dim": 1.3, "attention_factor": 1.5, "truncate": false,
            "original_max_position_embeddings": 16})";
    const ModelConfig c = read(config).model;
    const RopeScaling& s = c.rope_scaling;
    CHECK(c.rope_theta == 5000);
    CHECK(s.type == "yarn");
    CHECK(s.factor == 4);
    CHECK(s.original_context == 16);
    CHECK(s.beta_fast == 16);
    CHECK(s.beta_slow == 2);
    CHECK(s.mscale == 0.7);
    CHECK(s.mscale_all_dim == 1.3);
    CHECK(s.attention_factor == 1.5);
    CHECK_FALSE(s.truncate);
  }
  SECTION("yarn: what is left out") {
    config["rope_scaling"] = R"({"rope_type": "yarn", "factor": 4.0, "beta_fast": null})";
    const RopeScaling s = read(config).model.rope_scaling;
    CHECK(s.original_context == 64);  // max_position_embeddings
    CHECK(s.beta_fast == 32);
    CHECK(s.attention_factor == 0);
    CHECK(s.truncate);
    config["rope_scaling"] =
        R"({"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 16})";
    CHECK(read(config).model.rope_scaling.factor == 4);
    config["original_max_position_embeddings"] = "32";  // has priority over the one inside
    CHECK(read(config).model.rope_scaling.original_context == 32);
  }
  SECTION("refused by name") {
    const auto refuses = [&](const std::string& value, const char* what) {
      config["rope_scaling"] = value;
      CHECK_THROWS_WITH(read(config), ContainsSubstring("rope_scaling") && ContainsSubstring(what));
      CHECK_THROWS_AS(read(config), UserError);
    };
    for (const char* type : {"dynamic", "longrope", "proportional", "su", "mrope"}) {
      refuses(fmt::format(R"({{"rope_type": "{}", "factor": 2.0}})", type), type);
    }
    refuses(R"({"rope_type": "default", "mrope_section": [1, 2]})", "mrope_section");
    refuses(R"({"rope_type": "linear"})", "factor is missing");
    refuses(R"({"rope_type": "linear", "factor": 0})", "factor");
    refuses(R"({"rope_type": "linear", "factor": "two"})", "factor");
    refuses(R"({"rope_type": "llama3", "factor": 8.0})", "low_freq_factor is missing");
    refuses(R"({"rope_type": "yarn", "factor": 8.0, "attention_factor": 0})", "attention_factor");
    refuses(R"({"full_attention": {"rope_type": "default"}})", "full_attention");
    refuses(R"({"rope_type": "default", "partial_rotary_factor": 0.5})", "partial_rotary_factor");
    refuses("[1]", "not an object");
  }
}

TEST_CASE("attention windows cap the context") {
  Config mistral = small("mistral");
  const auto context = [](const Config& config) { return read(config).model.context; };
  mistral["max_position_embeddings"] = "8192";
  CHECK(context(mistral) == 8192);
  CHECK(read(mistral).warning.empty());
  mistral["sliding_window"] = "4096";
  CHECK(context(mistral) == 4096);
  CHECK_THAT(read(mistral).warning, ContainsSubstring("4096") && ContainsSubstring("was 8192"));
  mistral.erase("sliding_window");  // 4096 unless told otherwise
  CHECK(context(mistral) == 4096);
  mistral["sliding_window"] = "16384";
  CHECK(context(mistral) == 8192);

  Config qwen = small("qwen2");
  qwen["sliding_window"] = "32";
  CHECK(context(qwen) == 64);
  qwen["use_sliding_window"] = "true";
  CHECK(context(qwen) == 64);  // from layer 28 on, of 2
  qwen["max_window_layers"] = "1";
  CHECK(context(qwen) == 32);
  qwen["max_window_layers"] = "0";
  CHECK(context(qwen) == 32);
  qwen["layer_types"] = R"(["full_attention", "full_attention"])";
  CHECK(context(qwen) == 64);
  qwen["layer_types"] = R"(["full_attention", "sliding_attention"])";
  CHECK(context(qwen) == 32);
  qwen["sliding_window"] = "null";
  CHECK(context(qwen) == 64);
}

TEST_CASE("what Pivot does not compute is refused by name") {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"attention_bias", "true"},
      {"mlp_bias", "true"},
      {"hidden_act", "\"gelu\""},
      {"partial_rotary_factor", "0.25"},
      {"attn_logit_softcapping", "50.0"},
      {"final_logit_softcapping", "30.0"},
      {"num_local_experts", "8"},
      {"num_experts", "64"},
      {"embedding_multiplier", "12.0"},
      {"no_rope_layers", "[1, 0]"},
      {"quantization_config", "{\"bits\": 4}"},
      {"model_type", "\"gemma2\""},
      {"model_type", "\"mixtral\""},
      {"architectures", "[\"LlamaForSequenceClassification\"]"},
      {"architectures", "[\"LlamaModel\"]"},
  };
  for (const auto& [key, value] : bad) {
    CAPTURE(key, value);
    Config config = small();
    config[key] = value;
    CHECK_THROWS_AS(read(config), UserError);
    const std::string named = key == "model_type"      ? value.substr(1, value.size() - 2)
                              : key == "architectures" ? value.substr(2, value.size() - 4)
                                                       : key;
    CHECK_THROWS_WITH(read(config), ContainsSubstring("config.json") && ContainsSubstring(named));
  }
  Config harmless = small();
  harmless["attention_bias"] = "false";
  harmless["mlp_bias"] = "null";
  harmless["partial_rotary_factor"] = "1.0";
  harmless["pretraining_tp"] = "2";  // another order of the same sums
  CHECK_NOTHROW(read(harmless));
  Config qwen = small("qwen2");
  qwen["attention_bias"] = "true";  // transformers ignores it: the biases are there anyway
  CHECK_NOTHROW(read(qwen));
}

TEST_CASE("absurd and missing values name their key") {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"vocab_size", "0"},
      {"hidden_size", "-16"},
      {"hidden_size", "16.5"},
      {"num_hidden_layers", "1e30"},
      {"num_hidden_layers", "true"},
      {"num_attention_heads", "99999999999999999999"},
      {"head_dim", "7"},
      {"head_dim", "16777216"},
      {"num_hidden_layers", "16777216"},
      {"num_key_value_heads", "3"},
      {"rms_norm_eps", "\"small\""},
      {"rms_norm_eps", "0"},
      {"rope_theta", "0.5"},
      {"tie_word_embeddings", "1"},
      {"architectures", "\"LlamaForCausalLM\""},
      {"pivot", "3"},
      {"pivot", R"({"attention": "topk:"})"},
      {"pivot", R"({"step": -1})"}};
  for (const auto& [key, value] : bad) {
    CAPTURE(key, value);
    Config config = small();
    config[key] = value;
    CHECK_THROWS_AS(read(config), UserError);
  }
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads"}) {
    Config config = small();
    config.erase(key);
    CHECK_THROWS_WITH(read(config), ContainsSubstring(std::string(key) + " is missing"));
  }
  for (const std::string& broken :
       {std::string("{"), std::string("[]"), std::string(), std::string(100000, '['),
        std::string("{\"a\": NaN}"), std::string("\x00\xff", 2)}) {
    CHECK_THROWS_AS(read_hf_config(broken, "config.json"), UserError);
  }
  CHECK_THROWS_WITH(read_hf_config(std::string(2 << 20, ' '), "here"), ContainsSubstring("limit"));
}

CheckpointInfo info_of(const HfConfig& config, const std::string& original) {
  CheckpointInfo info;
  info.model = config.model;
  info.attention = config.attention;
  if (!original.empty()) info.companions[kHfConfigFile] = original;
  return info;
}

const HfConfigFacts kFacts = {"bfloat16", "a test", {3, 4}};

TEST_CASE("the configuration a model came with is kept, changes apart") {
  HfDirectory directory("qwen2");
  directory.config["use_cache"] = "true";
  directory.config["my_key"] = R"({"deep": [1, 2.50, "x"]})";
  directory.config["eos_token_id"] = "[5, 6]";
  const std::string original = directory.print_config();
  CheckpointInfo info = info_of(read_hf_config(original, "config.json"), original);
  info.attention = "topk:2%";
  info.state.step = 12;
  info.state.consumed_tokens = 3456;

  auto before = nlohmann::json::parse(original);
  auto after = nlohmann::json::parse(print_hf_config(info, kFacts));
  CHECK(after["torch_dtype"] == "bfloat16");
  CHECK(after["dtype"] == "bfloat16");
  CHECK(after["pivot"]["attention"] == "topk:2%");
  CHECK(after["pivot"]["origin"] == "a test");
  for (const char* key : {"torch_dtype", "dtype", "pivot"}) {
    before.erase(key);
    after.erase(key);
  }
  CHECK(after == before);

  const HfConfig again = read_hf_config(print_hf_config(info, kFacts), "again");
  CHECK(text(again.model) == text(info.model));
  CHECK(again.attention == "topk:2%");
  CHECK(again.state.step == 12);
  CHECK(again.state.consumed_tokens == 3456);
  CHECK_FALSE(again.pivot_version.empty());

  info.model.context = 128;
  const auto longer = nlohmann::json::parse(print_hf_config(info, kFacts));
  CHECK(longer["max_position_embeddings"] == 128);
  CHECK(longer["rope_theta"] == 10000.0);
}

TEST_CASE("a longer context than the window ends the window, and scaling stays what it was") {
  HfDirectory directory("mistral");
  directory.config["max_position_embeddings"] = "64";
  directory.config["sliding_window"] = "32";
  directory.config["rope_scaling"] = R"({"rope_type": "yarn", "factor": 4.0})";
  const std::string original = directory.print_config();
  CheckpointInfo info = info_of(read_hf_config(original, "config.json"), original);
  REQUIRE(info.model.context == 32);
  const auto same = nlohmann::json::parse(print_hf_config(info, kFacts));
  CHECK(same["sliding_window"] == 32);
  CHECK(same["max_position_embeddings"] == 64);
  info.model.context = 256;
  const std::string printed = print_hf_config(info, kFacts);
  CHECK(nlohmann::json::parse(printed)["sliding_window"].is_null());
  CHECK(text(read_hf_config(printed, "again").model) == text(info.model));
}

TEST_CASE("models of no origin are written as the family their features make them") {
  for (const std::string scaling : {"none", "linear", "llama3", "yarn"}) {
    for (const int kind : {0, 1, 2, 3}) {
      CAPTURE(scaling, kind);
      CheckpointInfo info;
      ModelConfig& c = info.model;
      c.vocab = 19;
      c.dim = kind == 3 ? 25 : 24;  // no multiple of the heads
      c.heads = 3;
      c.kv_heads = 1;
      c.head_dim = 16;
      c.context = 77;
      c.rope_theta = 12345.5;
      c.norm_eps = 3e-6;
      c.tied_embeddings = kind % 2 == 0;
      c.qkv_bias = kind == 1;
      c.qk_norm = kind == 2;
      c.rope_scaling.type = scaling;
      if (scaling != "none") c.rope_scaling.factor = 3;
      if (scaling == "llama3" || scaling == "yarn") c.rope_scaling.original_context = 21;
      if (scaling == "yarn") {
        c.rope_scaling.truncate = false;
        c.rope_scaling.beta_fast = 9;
        c.rope_scaling.mscale = 0.5;
        c.rope_scaling.mscale_all_dim = 0.25;
        c.rope_scaling.attention_factor = 1.125;
      }
      info.attention = "*:topk:1%;0:dense";
      const std::string printed = print_hf_config(info, kFacts);
      const HfConfig again = read_hf_config(printed, "again");
      const char* const families[] = {"llama", "qwen2", "qwen3", "mistral"};
      CHECK(again.family == families[kind]);
      CHECK(text(again.model) == text(c));
      CHECK(again.attention == info.attention);
      CHECK(again.warning.empty());
      const auto json = nlohmann::json::parse(printed);
      CHECK(json["bos_token_id"] == 3);
      CHECK(json["eos_token_id"] == 4);
    }
  }
  CheckpointInfo both;
  both.model.vocab = 8;
  both.model.qkv_bias = both.model.qk_norm = true;
  CHECK_THROWS_WITH(print_hf_config(both, kFacts), ContainsSubstring("qwen2"));
  CHECK_THROWS_AS(print_hf_config(both, kFacts), UserError);
}

}  // namespace
}  // namespace pivot::test
