#include "checkpoints/gguf/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "checkpoints/gguf/layout.h"
#include "checkpoints/gguf/rope.h"
#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot {
namespace {

// Far above any model; keeps products of two or three of them inside 64 bits.
constexpr int64_t kLargest = int64_t{1} << 24;

// Keys below the architecture's name that are read here or in rope.cc.
constexpr std::array kRead = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.causal",
    "expert_count",
    "expert_used_count",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.finetuned",  // says how the model was made, not what it computes
};

class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, const std::string& architecture)
      : file_(file), architecture_(architecture) {}

  ModelConfig read() {
    check_keys();
    ModelConfig c;
    c.layers = static_cast<int>(required("block_count"));
    // Every block has tensors, so that what is laid out below is bounded by the file.
    if (static_cast<uint64_t>(c.layers) > file_.tensors().size()) {
      throw_user("{}: {} is {}, the file has {} tensors in all", file_.path(), key("block_count"),
                 c.layers, file_.tensors().size());
    }
    c.dim = required("embedding_length");
    c.ffn_dim = required_by_layer("feed_forward_length", c.layers);
    c.heads = static_cast<int>(required_by_layer("attention.head_count", c.layers));
    c.kv_heads = file_.has(key("attention.head_count_kv"))
                     ? static_cast<int>(required_by_layer("attention.head_count_kv", c.layers))
                     : c.heads;
    c.head_dim = static_cast<int>(head_dim(c));
    c.norm_eps = required_fraction("attention.layer_norm_rms_epsilon");
    c.context = context();
    c.vocab = vocab();
    c.rope_theta = file_.fraction(key("rope.freq_base")).value_or(10000);  // the format's default
    c.tied_embeddings = !file_.tensors().contains("output.weight");
    c.qkv_bias = file_.tensors().contains("blk.0.attn_q.bias");
    c.qk_norm = architecture_ == "qwen3";
    c.rope_scaling = read_gguf_rope_scaling(file_, architecture_, c);
    check_parts(c);
    try {
      validate(c);
    } catch (const UserError& error) {
      throw_user("{}: {}", file_.path(), error.what());
    }
    return c;
  }

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }

  int64_t in_range(const std::string& name, int64_t value) const {
    if (value < 1 || value > kLargest) {
      throw_user("{}: key '{}' is {}, must be between 1 and {}", file_.path(), name, value,
                 kLargest);
    }
    return value;
  }
  int64_t required(std::string_view name) const {
    const auto value = file_.integer(key(name));
    if (!value) throw_user("{}: key '{}' is missing", file_.path(), key(name));
    return in_range(key(name), *value);
  }
  double required_fraction(std::string_view name) const {
    const auto value = file_.fraction(key(name));
    if (!value) throw_user("{}: key '{}' is missing", file_.path(), key(name));
    return *value;
  }
  // A number, or one for each layer that must all be equal.
  int64_t required_by_layer(std::string_view name, int layers) const {
    const auto found = file_.values().find(key(name));
    if (found == file_.values().end() || found->second.type != GgufValueType::Array) {
      return required(name);
    }
    const std::vector<int64_t> values = file_.integers(key(name));
    const bool equal =
        static_cast<int64_t>(values.size()) == layers &&
        std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
    if (!equal) {
      throw_user("{}: '{}' differs from layer to layer, which Pivot cannot compute", file_.path(),
                 key(name));
    }
    return in_range(key(name), values.front());
  }

  // What is not understood may change what the model computes.
  void check_keys() const {
    const std::string prefix = architecture_ + ".";
    for (const auto& [name, value] : file_.values()) {
      if (!name.starts_with(prefix)) continue;
      const std::string_view rest = std::string_view(name).substr(prefix.size());
      if (std::find(kRead.begin(), kRead.end(), rest) == kRead.end()) {
        throw_user("{}: key '{}' is not known and may change what the model computes", file_.path(),
                   shown_name(name));
      }
    }
    if (file_.integer(key("expert_count")).value_or(0) != 0) {
      throw_user("{}: a mixture of experts, which Pivot cannot compute", file_.path());
    }
    if (!file_.flag(key("attention.causal")).value_or(true)) {
      throw_user("{}: attention is not causal, which Pivot cannot compute", file_.path());
    }
  }

  int64_t head_dim(const ModelConfig& c) const {
    int64_t width = c.dim / c.heads;
    if (file_.has(key("attention.key_length"))) {
      width = required("attention.key_length");
    } else if (c.dim % c.heads != 0) {
      throw_user("{}: '{}' is {}, not a multiple of the {} heads, and '{}' is missing",
                 file_.path(), key("embedding_length"), c.dim, c.heads,
                 key("attention.key_length"));
    }
    const auto same = [&](std::string_view name) {
      const auto value = file_.integer(key(name));
      if (!value || *value == width) return;
      throw_user("{}: '{}' is {} with heads of {} channels, which Pivot cannot compute",
                 file_.path(), key(name), *value, width);
    };
    same("attention.value_length");
    same("rope.dimension_count");  // rotates only a part otherwise
    return width;
  }

  int64_t context() const {
    const int64_t context = required("context_length");
    const int64_t window = file_.integer(key("attention.sliding_window")).value_or(0);
    if (window <= 0 || window >= context) return context;
    log::warning(
        "{}: trained with a sliding window of {} tokens; Pivot attends to all, which is the same "
        "up "
        "to that length: context capped at {} (was {})",
        file_.path(), window, window, context);
    return window;
  }

  int64_t vocab() const {
    const auto found = file_.tensors().find("token_embd.weight");
    if (found == file_.tensors().end()) {
      throw_user("{}: tensor 'token_embd.weight' is missing", file_.path());
    }
    if (found->second.shape.size() != 2) {
      throw_user("{}: tensor 'token_embd.weight' is not a matrix", file_.path());
    }
    const int64_t rows = found->second.shape[0];
    const int64_t stated = file_.integer(key("vocab_size")).value_or(rows);
    if (stated != rows) {
      throw_user("{}: '{}' is {}, the embedding has {} rows", file_.path(), key("vocab_size"),
                 stated, rows);
    }
    return in_range("rows of token_embd.weight", rows);
  }

  void check_parts(const ModelConfig& c) const {
    if (int64_t{c.heads} * c.head_dim > kLargest || int64_t{c.kv_heads} * c.head_dim > kLargest) {
      throw_user("{}: {} and {} heads of {} channels are absurd", file_.path(), c.heads, c.kv_heads,
                 c.head_dim);
    }
  }

  const GgufFile& file_;
  const std::string& architecture_;
};

}  // namespace

std::string read_gguf_architecture(const GgufFile& file) {
  const auto name = file.text("general.architecture");
  if (!name) throw_user("{}: key 'general.architecture' is missing", file.path());
  const std::vector<std::string>& known = gguf_architectures();
  if (std::find(known.begin(), known.end(), *name) == known.end()) {
    throw_user("{}: architecture '{}' is not one that Pivot computes: {}", file.path(),
               shown_name(*name), fmt::join(known, ", "));
  }
  return std::string(*name);
}

ModelConfig read_gguf_config(const GgufFile& file, const std::string& architecture) {
  return ConfigReader(file, architecture).read();
}

}  // namespace pivot
