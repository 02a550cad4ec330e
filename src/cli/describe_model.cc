#include "src/cli/describe_model.h"

#include "src/base/units.h"

namespace pivot {
namespace {

std::string describe_rope(const ModelConfig& c) {
  const RopeScaling& s = c.rope_scaling;
  const std::string theta = fmt::format("theta {:g}", c.rope_theta);
  if (s.type == "none") return theta;
  if (s.type == "linear") return fmt::format("{}, linear x {:g}", theta, s.factor);
  const std::string of =
      fmt::format("{}, {} x {:g} of {} tokens", theta, s.type, s.factor, s.original_context);
  if (s.type != "yarn") return of;
  return fmt::format("{}, attention factor {:.4g}", of, rope_attention_factor(s));
}

}  // namespace

std::string describe_model(const CheckpointInfo& info) {
  const ModelConfig& c = info.model;
  std::string features = c.tied_embeddings ? "tied embeddings" : "untied embeddings";
  if (c.qkv_bias) features += ", bias on QKV";
  if (c.qk_norm) features += ", QK-norm";
  return fmt::format(
      "  model       {} layers of {} channels, {} query and {} key/value heads of {}, feed-forward "
      "{}, {}\n"
      "  context     {} tokens; RoPE {}\n"
      "  attention   {}\n"
      "  tokenizer   {}{}; vocabulary {}\n"
      "  parameters  {} ({})\n",
      c.layers, c.dim, c.heads, c.kv_heads, c.head_dim, c.ffn_dim, features, c.context,
      describe_rope(c), info.attention,
      info.tokenizer_kind.empty() ? "none" : info.tokenizer_kind + " ", info.tokenizer_hash,
      c.vocab, parameter_count(c), format_si(static_cast<double>(parameter_count(c))));
}

}  // namespace pivot
