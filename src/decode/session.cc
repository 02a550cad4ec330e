#include "src/decode/session.h"

#include <numeric>

#include "src/base/check.h"

namespace pivot {
namespace {

const SessionOptions& with_model(const SessionOptions& options) {
  if (options.model.empty()) {
    throw_user("no model: name one with --model PATH");
  }
  return options;
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_of(const CheckpointInfo& info) {
  if (info.tokenizer_kind.empty()) {
    throw_user("the model has no tokenizer: put its tokenizer.json beside config.json");
  }
  return make_tokenizer(info.tokenizer_kind, info.tokenizer_bytes,
                        info.companion(kTokenizerConfigFile));
}

Session::Session(const SessionOptions& options, int max_sequences)
    : context_(with_model(options).context),
      max_sequences_(max_sequences),
      pool_(options.threads),
      model_(options.model, "", parse_placement(options.device, options.dtype), pool_),
      tokenizer_(tokenizer_of(model_.info())) {
  if (tokenizer_->vocab() > model_.model().config.vocab) {
    throw_user("{}: the tokenizer has {} tokens, the model {}: they do not belong together",
               model_.path(), tokenizer_->vocab(), model_.model().config.vocab);
  }
  set_attention(options.attn, options.prefill);
}

void Session::set_attention(const std::string& attn, const std::string& prefill) {
  const int layers = model_.model().config.layers;
  const std::string step_spec = attn.empty() ? model_.info().attention : attn;
  std::vector<AttentionPolicy> step = parse_layer_policies(step_spec, layers);
  std::vector<AttentionPolicy> prompt =
      parse_layer_policies(prefill.empty() ? step_spec : prefill, layers);
  step_ = std::move(step);
  prompt_ = std::move(prompt);
  engine_ = std::make_unique<Engine>(model_.model(),
                                     EngineOptions{.attention = step_,
                                                   .prefill = prompt_,
                                                   .max_context = context_,
                                                   .max_sequences = max_sequences_},
                                     model_.placement().device, pool_);
}

std::string Session::attention() const {
  return to_string(step_);
}

std::string Session::prefill_attention() const {
  return to_string(prompt_);
}

std::string Session::describe_attention() const {
  return fmt::format("{}; trained with {}; prompt {}, decoding {}", model_.placement().describe(),
                     model_.info().attention, prefill_attention(), attention());
}

double Session::kept_mass() const {
  const std::vector<double> mass = engine_->kept_mass();
  return std::accumulate(mass.begin(), mass.end(), 0.0) / static_cast<double>(mass.size());
}

}  // namespace pivot
