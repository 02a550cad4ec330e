#pragma once
/// Which checkpoint a run goes on from, and whether it is the same run.

#include <string>

#include "train/options.h"

namespace pivot {

/// All options as TOML: the config.toml of runs and checkpoints.
std::string print_config(TrainOptions options);

/// True for keys that may differ between the sessions of one run: they change how long it goes on,
/// what it writes or how it computes, not which numbers it computes for a given step count.
bool may_change(const std::string& key);

/// Throws UserError naming every key, with both values, that differs and may not. `where` is the
/// checkpoint. When resume names a checkpoint, going on with other options is what was asked for:
/// then only model.* must be equal, and the rest is a warning.
void require_same_run(const TrainOptions& options, const std::string& config_toml,
                      const std::string& where);

/// The checkpoint that resume = auto | never | PATH means, or "" to start from the beginning. With
/// `never`, an earlier run in the output directory is moved to OUTPUT.1, .2, ... and said so.
/// Damaged checkpoints are passed over by `auto`, with a warning.
std::string resume_from(const TrainOptions& options);

/// Throws UserError if the output directory holds checkpoints later than `step`: a run that goes on
/// from there would leave two histories in one place.
void refuse_later_checkpoints(const TrainOptions& options, int64_t step);

}  // namespace pivot
