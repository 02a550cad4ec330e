#include "src/cli/train_run.h"

#include "src/base/check.h"
#include "src/base/log.h"
#include "train/init_model.h"

namespace pivot {

std::unique_ptr<ModelSource> open_init(TrainOptions& options) {
  if (options.init.empty()) return nullptr;
  auto source = open_model(options.init);
  adopt_model(options, source->info());
  return source;
}

RunData open_run_data(const TrainOptions& options) {
  const DataOptions& data = options.data;
  RunData out;
  const RowLayout layout = row_layout(data);
  out.train = open_loader(data.train, layout, options.seed, LoaderOrder::Shuffled);
  if (!data.validation.empty()) {
    out.validation = open_loader(data.validation, layout, options.seed, LoaderOrder::Sequential);
  }
  out.tokenizer =
      load_tokenizer(data.tokenizer.empty() ? tokenizer_beside(data.train) : data.tokenizer);
  if (out.tokenizer->hash() != out.train->tokenizer_hash()) {
    throw_user(
        "data.tokenizer {} ({}) is not the one the shards were made with ({}): leave "
        "data.tokenizer empty to take theirs",
        data.tokenizer, out.tokenizer->hash(), out.train->tokenizer_hash());
  }
  return out;
}

void run_trainer(const TrainOptions& options, const RunData& data, const ModelSource* init,
                 const TrainCallbacks& callbacks,
                 const std::map<std::string, std::string>& companions) {
  const double padding = padding_share(*data.train);
  if (padding > 0.001) {
    log::info("packing: {} rows an epoch, {:.2f}% of them padding (data.pack={})",
              data.train->epoch_rows(), 100 * padding, options.data.pack);
  }
  Trainer trainer(options,
                  {.train = *data.train,
                   .validation = data.validation.get(),
                   .tokenizer_kind = data.tokenizer->kind(),
                   .tokenizer_bytes = data.tokenizer->model_bytes(),
                   .tokenizer_hash = data.tokenizer->hash(),
                   .companions = companions,
                   .init = init},
                  callbacks);
  trainer.run();
}

Engine sample_engine(const Model& model, const TrainOptions& options, int64_t context,
                     ThreadPool& pool) {
  return Engine(model,
                {.attention = model.attention,
                 .prefill = model.attention,
                 .max_context = context,
                 .max_sequences = 1,
                 .measure_kept_mass = false},
                parse_device(options.device), pool);
}

}  // namespace pivot
