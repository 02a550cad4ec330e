#pragma once
/// Checks and completes the options of a run before anything expensive happens.

#include <string>

#include "data/loader.h"
#include "train/options.h"

namespace pivot {

/// Everything that can be told without data: sizes, specs, schedules, extents. model.vocab may be 0
/// here. Throws UserError naming the key and what would be right.
void validate(const TrainOptions& options);

/// What is worth a warning at the start, one sentence each.
std::vector<std::string> advice(const TrainOptions& options);

/// Opens the loaders' view of the options: sets model.vocab from `train` if it is 0, steps where
/// epochs are given, and checks that vocabulary, tokenizers and row lengths agree. `validation` may
/// be null.
void fit_to_data(TrainOptions& options, const Loader& train, const Loader* validation);

}  // namespace pivot
