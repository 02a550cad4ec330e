// pivot sft: fine-tune a model on conversations.
#include <nlohmann/json.hpp>

#include "data/chat/template.h"
#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/cli/chat_data.h"
#include "src/cli/commands.h"
#include "src/cli/sft_options.h"
#include "src/cli/sft_samples.h"
#include "src/cli/train_config.h"
#include "src/cli/train_run.h"
#include "src/decode/session.h"
#include "train/resume.h"
#include "train/setup.h"

namespace pivot {
namespace {

constexpr size_t kPrompts = 3;

/// A template that was chosen for the run travels with its checkpoints, so that whoever talks to
/// the model uses it too.
std::map<std::string, std::string> template_companions(const TrainOptions& o,
                                                       const Tokenizer& tokenizer) {
  if (o.chat.chat_template.empty()) return {};
  const std::string& config = tokenizer.config();
  nlohmann::ordered_json json =
      config.empty() ? nlohmann::ordered_json::object() : nlohmann::ordered_json::parse(config);
  json["chat_template"] = chat::load_template(o.chat.chat_template, tokenizer).source();
  return {{kTokenizerConfigFile, json.dump(2) + "\n"}};
}

void require_sources(const TrainOptions& o) {
  if (o.init.empty()) {
    throw_user(
        "no model: name one with --model (a Hugging Face directory, a .gguf file or a checkpoint)");
  }
  const bool own_shards = o.data.train == std::vector{o.output + "/data/train"};
  if (o.chat.train.empty() && (o.data.train.empty() || own_shards)) {
    throw_user("no conversations: name them with chat.train=FILE.jsonl (or shards in data.train)");
  }
  if (o.chat.train.empty() || own_shards) return;
  if (!o.data.train.empty()) {
    throw_user("chat.train and data.train both say what to learn from: give one of them");
  }
  if (!o.data.validation.empty()) {
    throw_user("data.validation beside chat.train: name held-out conversations in chat.validation");
  }
}

/// The probe is shown, and the shards are in the run's directory.
void tokenise(TrainOptions& o, const Tokenizer& tokenizer) {
  const chat::Template chat_template = chat::load_template(o.chat.chat_template, tokenizer);
  const ChatTarget target{.tokenizer = tokenizer,
                          .chat_template = chat_template,
                          .context = o.data.seq_len,
                          .out = o.output + "/data"};
  show_probe(probe_chat(o.chat, target), o.output);
  ThreadPool pool(o.threads);
  prepare_chat_data(o, target, pool);
}

TrainCallbacks sample_answers(const TrainOptions& o, const RunData& data) {
  TrainCallbacks callbacks;
  if (o.sample.every == "0") return callbacks;
  auto prompts = held_out_prompts(o.data.validation.empty() ? o.data.train : o.data.validation,
                                  *data.tokenizer, o.model.context, o.sample.tokens, kPrompts);
  if (prompts.empty()) {
    log::warning("no samples: no conversation leaves {} tokens for an answer", o.sample.tokens);
    return callbacks;
  }
  callbacks.sample = [&o, &data, prompts = std::move(prompts)](const Model& model,
                                                               ThreadPool& pool) {
    return answer_prompts(prompts, *data.tokenizer, o, model, pool);
  };
  return callbacks;
}

}  // namespace

int run_sft(const std::vector<std::string>& args) {
  TrainOptions options = sft_defaults();
  ModelFlag flag;
  if (!parse_train_command(
          "sft", "Fine-tune a model on conversations with exact Top-k attention",
          "Example: pivot sft --model DIR chat.train=talks.jsonl output=runs/sft, then pivot chat "
          "runs/sft.\nWhere a default is 0 and that is no value, it follows from the model and the "
          "data (docs/sft.md).\nCtrl-C or SIGTERM saves and stops (exit 0); the same command goes "
          "on from there.",
          args, options, flag)) {
    return 0;
  }
  flag.apply(options);
  require_sources(options);
  const auto init = open_init(options);
  choose_row_length(options);
  TrainOptions checked = options;
  choose_step_tokens(checked, nullptr);
  validate(checked);  // before the data is tokenised
  catch_interrupts();
  log::info("{}: {}", options.init, init->describe());
  const auto tokenizer = tokenizer_of(init->info());
  const auto companions = template_companions(options, *tokenizer);
  // The earlier run goes out of the way before this one writes its data.
  if (options.resume == "never") resume_from(options);
  if (!options.chat.train.empty()) tokenise(options, *tokenizer);
  const RunData data = open_run_data(options);
  choose_step_tokens(options, data.train.get());
  validate(options);
  run_trainer(options, data, init.get(), sample_answers(options, data), companions);
  return 0;
}

}  // namespace pivot
