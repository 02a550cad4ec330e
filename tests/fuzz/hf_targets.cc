// What lies beside the weights of a Hugging Face model.
#include <filesystem>

#include "checkpoints/hf/config.h"
#include "checkpoints/hf/tensors.h"
#include "checkpoints/hf/tokenizer_files.h"
#include "src/base/check.h"
#include "src/base/options.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace pivot::fuzz {
namespace {

std::string text(ModelConfig config) {
  return to_toml(option_fields(config), TomlComments::None);
}

void write_shard(const std::string& path, const std::vector<std::string>& names) {
  std::vector<float> values = {1, 2};
  std::vector<NamedTensor> tensors;
  for (const std::string& name : names) tensors.push_back({name, view(values.data(), {2})});
  write_safetensors(path, tensors, {});
}

}  // namespace

// What was accepted must be written so that it reads back the same.
void read_hf_config_file(std::string_view bytes) {
  const HfConfig config = read_hf_config(bytes, "input");
  CheckpointInfo info;
  info.model = config.model;
  info.attention = config.attention;
  info.state = config.state;
  for (const bool original : {true, false}) {
    info.companions.clear();
    if (original) info.companions[kHfConfigFile] = bytes;
    HfConfig again;
    try {
      again = read_hf_config(print_hf_config(info, {"float32", "a test", {}}), "printed");
    } catch (const UserError& e) {
      PIVOT_CHECK(false, "refuses its own output: {}", e.what());
    }
    PIVOT_CHECK(text(again.model) == text(info.model), "the configuration reads back otherwise");
    PIVOT_CHECK(again.attention == info.attention, "attention reads back otherwise");
  }
}

std::vector<std::string> hf_config_seeds() {
  const std::string sizes =
      R"("vocab_size":11,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,)"
      R"("num_attention_heads":2,"num_key_value_heads":1,"max_position_embeddings":64)";
  return {R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","rope_theta":10000.0,)" +
              sizes + R"(,"tie_word_embeddings":true,"pivot":{"attention":"topk:1%","step":3}})",
          R"({"model_type":"mistral","sliding_window":32,"head_dim":8,)" + sizes + "}",
          R"({"model_type":"qwen2","use_sliding_window":true,"max_window_layers":1,)" + sizes +
              R"(,"rope_scaling":{"type":"yarn","factor":4.0,"mscale":0.7,"mscale_all_dim":1.0}})",
          R"({"model_type":"qwen3","rope_parameters":{"rope_type":"llama3","rope_theta":5e5,)"
          R"("factor":8,"low_freq_factor":1,"high_freq_factor":4,)"
          R"("original_max_position_embeddings":32},)" +
              sizes + "}"};
}

void read_hf_index(std::string_view bytes) {
  static const std::string dir = [] {
    const std::string path = scratch() / "hf_index";
    std::filesystem::create_directories(path);
    write_shard(path + "/a.safetensors", {"x", "y"});
    write_shard(path + "/b.safetensors", {"z"});
    return path;
  }();
  overwrite(dir + "/" + kHfIndexFile, bytes);
  const HfTensors tensors(dir);
  for (const auto& [name, tensor] : tensors.all()) {
    PIVOT_CHECK(tensor.entry->bytes.size() == 8, "tensor '{}' is not one of the files", name);
  }
}

std::vector<std::string> hf_index_seeds() {
  return {R"({"metadata":{"total_size":24},"weight_map":{"x":"a.safetensors","y":"a.safetensors",)"
          R"("z":"b.safetensors"}})",
          R"({"weight_map":{"z":"b.safetensors"}})"};
}

void read_hf_tokenizer_file(std::string_view bytes) {
  static const std::string dir = [] {
    const std::string path = scratch() / "hf_tokenizer";
    std::filesystem::create_directories(path);
    return path;
  }();
  overwrite(dir + "/" + kHfTokenizerFile, bytes);
  CheckpointInfo info;
  read_hf_tokenizer(dir, 300, info);
  PIVOT_CHECK(info.tokenizer_kind == "huggingface" || info.tokenizer_kind == "bytes", "kind '{}'",
              info.tokenizer_kind);
}

std::vector<std::string> hf_tokenizer_seeds() {
  return {R"({"added_tokens":[{"id":2,"content":"</s>"}],"model":{"type":"BPE",)"
          R"("vocab":{"a":0,"b":1},"merges":[["a","b"]]}})",
          R"({"model":{"type":"Unigram","vocab":[["<unk>",0.0],["a",-1.5]]}})"};
}

}  // namespace pivot::fuzz
