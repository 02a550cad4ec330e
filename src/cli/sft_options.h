#pragma once
/// The options of `pivot sft`: those of a training run with other defaults, some of which follow
/// from the model and the data.

#include "data/loader.h"
#include "train/options.h"

namespace pivot {

/// What the command line has besides: another name of `init`.
struct ModelFlag {
  std::string model;
  template <class V>
  void visit(V&& v) {
    v("model", model, "the same as --init: the model to start from");
  }
  /// Throws UserError when both are given and differ.
  void apply(TrainOptions& options) const;
};

/// Where 0 is one of them, choose_row_length and choose_step_tokens put a number.
TrainOptions sft_defaults();

/// data.seq_len where it is 0: the model's context, at most 8192. Call after open_init.
void choose_row_length(TrainOptions& options);
/// batch.tokens where it is 0: at most 65536, fewer where an epoch would have less than 64 steps.
/// `train` may be null: data that is not there yet.
void choose_step_tokens(TrainOptions& options, const Loader* train);

}  // namespace pivot
