// pivot train: train a model, from scratch or from another model.
#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "src/cli/commands.h"
#include "src/cli/train_config.h"
#include "src/cli/train_run.h"
#include "src/decode/generate.h"
#include "train/setup.h"

namespace pivot {
namespace {

constexpr double kSampleTemperature = 0.8;

struct NoMoreOptions {
  template <class V>
  void visit(V&&) {}
};

std::vector<int32_t> prompt_ids(const TrainOptions& o, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = tokenizer.encode(o.sample.prompt);
  if (ids.empty() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
  if (ids.empty()) throw_user("sample.prompt is empty, and the tokenizer has no beginning token");
  if (static_cast<int64_t>(ids.size()) + o.sample.tokens > o.model.context) {
    throw_user("sample.prompt and sample.tokens are longer than model.context {}", o.model.context);
  }
  return ids;
}

std::string continue_prompt(const TrainOptions& o, const Tokenizer& tokenizer, const Model& model,
                            ThreadPool& pool) {
  const std::vector<int32_t> prompt = prompt_ids(o, tokenizer);
  Engine engine =
      sample_engine(model, o, static_cast<int64_t>(prompt.size()) + o.sample.tokens, pool);
  GenerateOptions generation;
  generation.sampler.temperature = kSampleTemperature;
  generation.sampler.seed = o.seed;
  generation.max_tokens = o.sample.tokens;
  return generate(engine, tokenizer, prompt, generation).samples.front().text;
}

}  // namespace

int run_train(const std::vector<std::string>& args) {
  TrainOptions options;
  NoMoreOptions none;
  if (!parse_train_command(
          "train", "Train a model with exact Top-k attention",
          "Ctrl-C or SIGTERM saves and stops (exit 0); the same command goes on from there.", args,
          options, none)) {
    return 0;
  }
  if (!options.chat.train.empty()) {
    throw_user("chat.train: conversations are learnt with 'pivot sft' (the same options)");
  }
  const auto init = open_init(options);
  validate(options);
  catch_interrupts();
  const RunData data = open_run_data(options);
  TrainCallbacks callbacks;
  if (options.sample.every != "0") {
    prompt_ids(options, *data.tokenizer);
    callbacks.sample = [&](const Model& model, ThreadPool& pool) -> std::vector<TextSample> {
      return {{options.sample.prompt, continue_prompt(options, *data.tokenizer, model, pool)}};
    };
  }
  run_trainer(options, data, init.get(), callbacks);
  return 0;
}

}  // namespace pivot
