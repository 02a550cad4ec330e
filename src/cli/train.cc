// pivot train: train a model from scratch.
#include <memory>

#include "data/loader.h"
#include "data/tokenizer.h"
#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/cli/commands.h"
#include "src/cli/train_config.h"
#include "src/decode/engine.h"
#include "src/decode/generate.h"
#include "train/setup.h"
#include "train/trainer.h"

namespace pivot {
namespace {

constexpr double kSampleTemperature = 0.8;

struct NoMoreOptions {
  template <class V>
  void visit(V&&) {}
};

std::unique_ptr<Tokenizer> open_tokenizer(const DataOptions& data, const Loader& train) {
  auto tokenizer =
      load_tokenizer(data.tokenizer.empty() ? tokenizer_beside(data.train) : data.tokenizer);
  if (tokenizer->hash() != train.tokenizer_hash()) {
    throw_user(
        "data.tokenizer {} ({}) is not the one the shards were made with ({}): leave "
        "data.tokenizer "
        "empty to take theirs",
        data.tokenizer, tokenizer->hash(), train.tokenizer_hash());
  }
  return tokenizer;
}

std::vector<int32_t> prompt_ids(const TrainOptions& o, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = tokenizer.encode(o.sample.prompt);
  if (ids.empty() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
  if (ids.empty()) throw_user("sample.prompt is empty, and the tokenizer has no beginning token");
  if (static_cast<int64_t>(ids.size()) + o.sample.tokens > o.model.context) {
    throw_user("sample.prompt and sample.tokens are longer than model.context {}", o.model.context);
  }
  return ids;
}

// Text with the weights of the moment, by the decoder, with the attention of the moment.
std::string write_sample(const TrainOptions& o, const Tokenizer& tokenizer, const Model& model,
                         ThreadPool& pool) {
  const std::vector<int32_t> prompt = prompt_ids(o, tokenizer);
  Engine engine(model,
                {.attention = model.attention,
                 .prefill = model.attention,
                 .max_context = static_cast<int64_t>(prompt.size()) + o.sample.tokens,
                 .max_sequences = 1,
                 .measure_kept_mass = false},
                parse_device(o.device), pool);
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
  validate(options);
  catch_interrupts();
  const DataOptions& data = options.data;
  const auto train = open_loader(data.train, row_layout(data), options.seed, LoaderOrder::Shuffled);
  const auto validation =
      data.validation.empty()
          ? nullptr
          : open_loader(data.validation, row_layout(data), options.seed, LoaderOrder::Sequential);
  const auto tokenizer = open_tokenizer(data, *train);
  TrainCallbacks callbacks;
  if (options.sample.every != "0") {
    prompt_ids(options, *tokenizer);
    callbacks.sample = [&](const Model& model, ThreadPool& pool) {
      return write_sample(options, *tokenizer, model, pool);
    };
  }
  Trainer trainer(options,
                  {.train = *train,
                   .validation = validation.get(),
                   .tokenizer_kind = tokenizer->kind(),
                   .tokenizer_bytes = tokenizer->model_bytes(),
                   .tokenizer_hash = tokenizer->hash()},
                  callbacks);
  trainer.run();
  return 0;
}

}  // namespace pivot
