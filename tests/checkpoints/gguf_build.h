#pragma once
/// GGUF files made by hand from the format's description, so that every part of one can be wrong.
/// Nothing here is shared with the writer.

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "src/base/check.h"
#include "src/core/dtype.h"

namespace pivot::test {

template <class T>
std::string little(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}
inline std::string prefixed(const std::string& text) {
  return little(uint64_t{text.size()}) + text;
}

struct GgufKey {
  std::string name;
  uint32_t type;
  std::string bytes;
};
struct GgufEntry {
  std::string name;
  std::vector<uint64_t> dims;  // innermost first
  uint32_t type = 0;
  std::string data;
  int64_t offset = -1;  // where it is said to begin; -1: behind the one before
};

struct GgufBytes {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<GgufKey> keys;
  std::vector<GgufEntry> tensors;
  uint64_t alignment = 32;
  int64_t key_count = -1, tensor_count = -1;  // claimed; -1: the truth

  void text(const std::string& name, const std::string& value) { set(name, 8, prefixed(value)); }
  void u32(const std::string& name, uint32_t value) { set(name, 4, little(value)); }
  void f32(const std::string& name, float value) { set(name, 6, little(value)); }
  void flag(const std::string& name, bool value) { set(name, 7, std::string(1, value ? 1 : 0)); }
  void texts(const std::string& name, const std::vector<std::string>& values) {
    std::string bytes;
    for (const std::string& value : values) bytes += prefixed(value);
    array(name, 8, values.size(), bytes);
  }
  void i32s(const std::string& name, const std::vector<int32_t>& values) {
    std::string bytes;
    for (const int32_t value : values) bytes += little(value);
    array(name, 5, values.size(), bytes);
  }
  void f32s(const std::string& name, const std::vector<float>& values) {
    std::string bytes;
    for (const float value : values) bytes += little(value);
    array(name, 6, values.size(), bytes);
  }
  void array(const std::string& name, uint32_t element, uint64_t count, const std::string& bytes) {
    set(name, 9, little(element) + little(count) + bytes);
  }
  void set(const std::string& name, uint32_t type, const std::string& bytes) {
    for (GgufKey& key : keys) {
      if (key.name != name) continue;
      key = {name, type, bytes};
      return;
    }
    keys.push_back({name, type, bytes});
  }
  void erase(const std::string& name) {
    std::erase_if(keys, [&](const GgufKey& key) { return key.name == name; });
    std::erase_if(tensors, [&](const GgufEntry& tensor) { return tensor.name == name; });
  }

  /// An F32 tensor; dims innermost first.
  void floats(const std::string& name, const std::vector<uint64_t>& dims,
              const std::vector<float>& values) {
    std::string data;
    for (const float value : values) data += little(value);
    tensors.push_back({name, dims, 0, data});
  }
  GgufEntry& tensor(const std::string& name) {
    for (GgufEntry& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    PIVOT_CHECK(false, "no tensor {}", name);
  }

  std::string header() const {
    std::string out = magic + little(version);
    out +=
        little(tensor_count < 0 ? uint64_t{tensors.size()} : static_cast<uint64_t>(tensor_count));
    out += little(key_count < 0 ? uint64_t{keys.size()} : static_cast<uint64_t>(key_count));
    for (const GgufKey& key : keys) out += prefixed(key.name) + little(key.type) + key.bytes;
    uint64_t offset = 0;
    for (const GgufEntry& t : tensors) {
      out += prefixed(t.name) + little(static_cast<uint32_t>(t.dims.size()));
      for (const uint64_t dim : t.dims) out += little(dim);
      out += little(t.type);
      out += little(t.offset < 0 ? offset : static_cast<uint64_t>(t.offset));
      offset += padded(t.data).size();
    }
    return out;
  }
  std::string bytes() const {
    std::string out = padded(header());
    for (const GgufEntry& t : tensors) out += padded(t.data);
    return out;
  }
  void save(const std::string& path) const { std::ofstream(path, std::ios::binary) << bytes(); }

 private:
  std::string padded(std::string text) const {
    text.resize((text.size() + alignment - 1) / alignment * alignment, '\0');
    return text;
  }
};

/// The 256 characters of byte-level vocabularies that stand for ASCII, as far as tests need them.
inline std::vector<std::string> tiny_tokens() {
  return {"<|end|>",
          "a",
          "b",
          "ab",
          "\xC4\xA0",
          "\xC4\xA0"
          "a",
          "1",
          "!"};
}

/// A whole model with one layer, 2 heads over 1 KV head of 8 channels, C = 16, F = 24, V = 8.
/// Element i of every tensor is a number of its own. `architecture`: llama, qwen2 or qwen3.
inline GgufBytes tiny_gguf(const std::string& architecture = "llama") {
  GgufBytes g;
  const auto key = [&](const char* name) { return architecture + "." + name; };
  g.text("general.architecture", architecture);
  g.u32(key("block_count"), 1);
  g.u32(key("context_length"), 128);
  g.u32(key("embedding_length"), 16);
  g.u32(key("feed_forward_length"), 24);
  g.u32(key("attention.head_count"), 2);
  g.u32(key("attention.head_count_kv"), 1);
  g.f32(key("attention.layer_norm_rms_epsilon"), 1e-5F);
  g.f32(key("rope.freq_base"), 500000);
  g.text("tokenizer.ggml.model", "gpt2");
  g.text("tokenizer.ggml.pre", "qwen2");
  g.texts("tokenizer.ggml.tokens", tiny_tokens());
  g.i32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 1, 1});
  g.texts("tokenizer.ggml.merges", {"a b", "\xC4\xA0 a"});
  g.u32("tokenizer.ggml.eos_token_id", 0);

  float next = 1;
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& dims) {
    uint64_t count = 1;
    for (const uint64_t dim : dims) count *= dim;
    std::vector<float> values;
    for (uint64_t i = 0; i < count; ++i) values.push_back(next++ / 64);
    g.floats(name, dims, values);
  };
  add("token_embd.weight", {16, 8});
  add("blk.0.attn_norm.weight", {16});
  add("blk.0.attn_q.weight", {16, 16});
  add("blk.0.attn_k.weight", {16, 8});
  add("blk.0.attn_v.weight", {16, 8});
  if (architecture == "qwen2") {
    add("blk.0.attn_q.bias", {16});
    add("blk.0.attn_k.bias", {8});
    add("blk.0.attn_v.bias", {8});
  }
  if (architecture == "qwen3") {
    g.u32(key("attention.key_length"), 8);
    add("blk.0.attn_q_norm.weight", {8});
    add("blk.0.attn_k_norm.weight", {8});
  }
  add("blk.0.attn_output.weight", {16, 16});
  add("blk.0.ffn_norm.weight", {16});
  add("blk.0.ffn_gate.weight", {16, 24});
  add("blk.0.ffn_up.weight", {16, 24});
  add("blk.0.ffn_down.weight", {24, 16});
  add("output_norm.weight", {16});
  return g;
}

}  // namespace pivot::test
