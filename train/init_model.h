#pragma once
/// Runs that start from a model (init = PATH) instead of random weights.

#include <string>
#include <vector>

#include "checkpoints/model_source.h"
#include "train/options.h"

namespace pivot {

/// Sets model.* to the source's. Keys that were given (options.given) and differ are refused by
/// name, but for model.context: it may be longer or shorter. Idempotent.
void adopt_model(TrainOptions& options, const CheckpointInfo& source);

/// What is worth a warning about a run that starts from `source`, one sentence each.
std::vector<std::string> advice(const TrainOptions& options, const CheckpointInfo& source);

/// Throws UserError unless the data was tokenised with the source's tokenizer. A source without one
/// (tokenizer_hash empty) fits any whose tokens it has.
void require_tokenizer_of(const CheckpointInfo& source, const std::string& tokenizer_hash,
                          const std::string& where);

}  // namespace pivot
