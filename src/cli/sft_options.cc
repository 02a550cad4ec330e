#include "src/cli/sft_options.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot {
namespace {

constexpr int64_t kLongestRow = 8192;
constexpr int64_t kStepTokens = 65536;  // some 100 conversations of usual length
constexpr int64_t kStepsOfEpoch = 64;   // warm-up and decay need steps to be anything

}  // namespace

void ModelFlag::apply(TrainOptions& options) const {
  if (model.empty()) return;
  if (!options.init.empty() && options.init != model) {
    throw_user("--model {} and init = {}: both name the model to start from", model, options.init);
  }
  options.init = model;
  options.given.insert("init");
}

TrainOptions sft_defaults() {
  TrainOptions o;
  o.output = "runs/sft";
  o.steps = 0;
  o.epochs = 1;
  o.data.seq_len = 0;
  o.data.pack = "best";
  o.batch.tokens = 0;
  // The model can look things up: Top-k from the first step, as it will be decoded.
  o.attention.dense_first = "0";
  o.optim.lr = 2e-5;
  o.sample.every = "5%";
  o.sample.prompt = "";
  o.sample.tokens = 96;
  return o;
}

void choose_row_length(TrainOptions& o) {
  if (o.data.seq_len == 0) o.data.seq_len = std::min(o.model.context, kLongestRow);
}

void choose_step_tokens(TrainOptions& o, const Loader* train) {
  if (o.batch.tokens != 0) return;
  int64_t rows = kStepTokens / o.data.seq_len;
  if (train != nullptr) rows = std::min(rows, train->epoch_rows() / kStepsOfEpoch);
  o.batch.tokens = std::max<int64_t>(rows, 1) * o.data.seq_len;
}

}  // namespace pivot
