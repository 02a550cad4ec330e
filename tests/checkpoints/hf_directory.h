#pragma once
/// Small Hugging Face directories, made by hand: neither the reader's tables nor the writer's are
/// used.

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "checkpoints/safetensors.h"
#include "src/base/file.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {

/// Values of one tensor as F32, stored as `dtype`.
struct HfTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

/// Two layers, 2 query heads and 1 key/value head of 8 channels, width 16, FFN 24, 11 tokens.
struct HfDirectory {
  TempDir dir;
  std::map<std::string, std::string> config;  // values are JSON
  std::map<std::string, HfTensor> tensors;
  std::map<std::string, DType> types;  // F32 where not named
  std::string file = "model.safetensors";

  explicit HfDirectory(const std::string& family = "llama") {
    const std::string upper(1, static_cast<char>(family[0] - 'a' + 'A'));
    config = {{"architectures", "[\"" + upper + family.substr(1) + "ForCausalLM\"]"},
              {"model_type", "\"" + family + "\""},
              {"vocab_size", "11"},
              {"hidden_size", "16"},
              {"intermediate_size", "24"},
              {"num_hidden_layers", "2"},
              {"num_attention_heads", "2"},
              {"num_key_value_heads", "1"},
              {"head_dim", "8"},
              {"hidden_act", "\"silu\""},
              {"max_position_embeddings", "64"},
              {"rms_norm_eps", "1e-05"},
              {"rope_theta", "10000.0"},
              {"tie_word_embeddings", "false"},
              {"torch_dtype", "\"float32\""},
              {"transformers_version", "\"4.40.0\""}};
    if (family == "mistral") config["sliding_window"] = "null";
    add("model.embed_tokens.weight", {11, 16});
    for (int l = 0; l < 2; ++l) {
      const std::string p = fmt::format("model.layers.{}.", l);
      add(p + "input_layernorm.weight", {16});
      for (const auto& [name, rows] :
           std::map<std::string, int64_t>{{"q", 16}, {"k", 8}, {"v", 8}}) {
        add(p + "self_attn." + name + "_proj.weight", {rows, 16});
        if (family == "qwen2") add(p + "self_attn." + name + "_proj.bias", {rows});
      }
      if (family == "qwen3") {
        add(p + "self_attn.q_norm.weight", {8});
        add(p + "self_attn.k_norm.weight", {8});
      }
      add(p + "self_attn.o_proj.weight", {16, 16});
      add(p + "post_attention_layernorm.weight", {16});
      add(p + "mlp.gate_proj.weight", {24, 16});
      add(p + "mlp.up_proj.weight", {24, 16});
      add(p + "mlp.down_proj.weight", {16, 24});
    }
    add("model.norm.weight", {16});
    add("lm_head.weight", {11, 16});
  }

  /// Every value differs from those of all other tensors and is exact in BF16 and F16.
  void add(const std::string& name, std::vector<int64_t> shape) {
    int64_t count = 1;
    for (const int64_t d : shape) count *= d;
    HfTensor tensor{std::move(shape), {}};
    const auto salt = static_cast<int>(std::hash<std::string>{}(name) % 97);
    for (int64_t i = 0; i < count; ++i) {
      tensor.values.push_back(static_cast<float>((i * 7 + salt) % 255 - 127) / 64);
    }
    tensors[name] = std::move(tensor);
  }
  void set_all(DType type) {
    for (const auto& [name, tensor] : tensors) types[name] = type;
  }

  std::string print_config() const {
    std::string text = "{";
    for (const auto& [key, value] : config) {
      text += fmt::format("{}\"{}\": {}", text.size() == 1 ? "" : ", ", key, value);
    }
    return text + "}";
  }

  /// Tensors whose names begin with `prefix`.
  void write_weights(const std::string& name, const std::vector<std::string>& wanted) {
    std::vector<std::vector<BFloat16>> rounded;
    rounded.reserve(wanted.size());
    std::vector<NamedTensor> list;
    for (const std::string& tensor_name : wanted) {
      HfTensor& tensor = tensors.at(tensor_name);
      Shape shape;
      for (const int64_t d : tensor.shape) shape.dim[static_cast<size_t>(shape.rank++)] = d;
      if (types.contains(tensor_name) && types.at(tensor_name) == DType::BF16) {
        rounded.emplace_back(tensor.values.size());
        std::transform(tensor.values.begin(), tensor.values.end(), rounded.back().begin(),
                       to_bfloat16);
        list.push_back({tensor_name, view(rounded.back().data(), shape)});
      } else {
        list.push_back({tensor_name, view(tensor.values.data(), shape)});
      }
    }
    write_safetensors(dir / name, list, {{"format", "pt"}});
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, tensor] : tensors) all.push_back(name);
    return all;
  }
  void put(const std::string& name, std::string_view text) const {
    write_file_atomically(dir / name, text);
  }
  void write_config() const { put("config.json", print_config()); }
  /// Configuration and all weights in one file.
  std::string write() {
    write_config();
    write_weights(file, names());
    return dir.path();
  }
  /// The same in two shards and an index.
  std::string write_sharded() {
    write_config();
    const std::vector<std::string> all = names();
    const auto half = all.begin() + static_cast<int64_t>(all.size() / 2);
    write_weights("model-00001-of-00002.safetensors", {all.begin(), half});
    write_weights("model-00002-of-00002.safetensors", {half, all.end()});
    std::string map;
    for (auto it = all.begin(); it != all.end(); ++it) {
      map += fmt::format("{}\"{}\": \"model-0000{}-of-00002.safetensors\"", map.empty() ? "" : ", ",
                         *it, it < half ? 1 : 2);
    }
    put("model.safetensors.index.json",
        "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {" + map + "}}");
    return dir.path();
  }
};

}  // namespace pivot::test
