#pragma once
/// What `pivot train`, `pivot sft` and `pivot plan` do alike once the options are read.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoints/model_source.h"
#include "data/loader.h"
#include "data/tokenizer.h"
#include "src/decode/engine.h"
#include "train/options.h"
#include "train/trainer.h"

namespace pivot {

/// Opens options.init, if any, and sets model.* to what it is. May be null.
std::unique_ptr<ModelSource> open_init(TrainOptions& options);

/// The loaders of a run and the tokenizer of its shards.
struct RunData {
  std::unique_ptr<Loader> train;
  std::unique_ptr<Loader> validation;  // may be null
  std::unique_ptr<Tokenizer> tokenizer;
};
/// Throws UserError on bad shards, and when data.tokenizer is not the one they were made with.
RunData open_run_data(const TrainOptions& options);

/// Trains to the end, or until Ctrl-C. `companions` travel with the checkpoints.
void run_trainer(const TrainOptions& options, const RunData& data, const ModelSource* init,
                 const TrainCallbacks& callbacks,
                 const std::map<std::string, std::string>& companions = {});

/// A decoder of the weights of the moment, with the attention of the moment, for one sequence of at
/// most `context` tokens.
Engine sample_engine(const Model& model, const TrainOptions& options, int64_t context,
                     ThreadPool& pool);

}  // namespace pivot
