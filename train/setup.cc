#include "train/setup.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention/policy.h"
#include "src/base/check.h"
#include "src/model/transformer.h"
#include "train/schedule.h"

namespace pivot {
namespace {

template <class T>
void require(bool condition, const char* key, const T& value, const char* what) {
  if (!condition) throw_user("{} is {}: {}", key, value, what);
}

void check_batch(const TrainOptions& o) {
  const int64_t seq_len = o.data.seq_len;
  require(seq_len >= 2, "data.seq_len", seq_len, "a row needs at least 2 tokens");
  if (seq_len > o.model.context) {
    throw_user(
        "data.seq_len {} is longer than model.context {}: shorten the rows, or raise model.context "
        "(and rope_theta or rope_scaling with it)",
        seq_len, o.model.context);
  }
  require(o.batch.tokens > 0, "batch.tokens", o.batch.tokens, "must be positive");
  if (o.batch.tokens % seq_len != 0) {
    throw_user("batch.tokens {} is not a multiple of data.seq_len {}: {} would be", o.batch.tokens,
               seq_len, (o.batch.tokens + seq_len - 1) / seq_len * seq_len);
  }
  const int64_t rows = o.batch.tokens / seq_len;
  require(o.batch.micro >= 0, "batch.micro", o.batch.micro, "rows, or 0 to choose");
  if (o.batch.micro > 0 && rows % o.batch.micro != 0) {
    throw_user("batch.micro {} does not divide the {} rows of a step (batch.tokens / data.seq_len)",
               o.batch.micro, rows);
  }
}

// Exactly one of steps and epochs decides; time may end a run before either.
void check_length(const TrainOptions& o) {
  require(o.steps >= 0, "steps", o.steps, "must not be negative");
  require(o.epochs >= 0 && std::isfinite(o.epochs), "epochs", o.epochs, "must not be negative");
  if (o.epochs > 0 && o.steps > 0 && o.given.count("steps") > 0) {
    throw_user(
        "steps={} and epochs={} both say how long to train: give one of them (steps=0 or epochs=0)",
        o.steps, o.epochs);
  }
  require(o.steps > 0 || o.epochs > 0 || o.time.seconds > 0, "steps", o.steps,
          "give a number of steps, epochs, or a time with steps=0");
}

void check_lora(const TrainOptions& o) {
  validate(o.lora);
  if (o.lora.on() && o.init.empty()) {
    throw_user("lora.rank={} needs init: adapters are trained on a model that is there",
               o.lora.rank);
  }
}

void check_attention(const TrainOptions& o) {
  for (const AttentionPolicy& p : parse_layer_policies(o.attention.spec, o.model.layers)) {
    if (p.dense()) continue;
    if (p.k_fixed > o.model.context) {
      throw_user("attention.spec: k={} is larger than the context of {} tokens (model.context)",
                 p.k_fixed, o.model.context);
    }
    if (p.k_min > o.model.context) {
      throw_user("attention.spec: min={} is larger than the context of {} tokens (model.context)",
                 p.k_min, o.model.context);
    }
  }
}

void check_optimizer(const OptimOptions& o) {
  require(std::isfinite(o.lr) && o.lr > 0, "optim.lr", o.lr, "must be positive");
  require(o.beta1 >= 0 && o.beta1 < 1, "optim.beta1", o.beta1, "must lie in [0, 1)");
  require(o.beta2 >= 0 && o.beta2 < 1, "optim.beta2", o.beta2, "must lie in [0, 1)");
  require(o.eps > 0, "optim.eps", o.eps, "must be positive");
  require(o.weight_decay >= 0, "optim.weight_decay", o.weight_decay, "must not be negative");
  require(o.grad_clip >= 0, "optim.grad_clip", o.grad_clip, "must not be negative; 0 is off");
}

void check_cadences(const TrainOptions& o) {
  parse_extent(o.checkpoint.every, "checkpoint.every");
  parse_extent(o.validation.every, "validation.every");
  parse_extent(o.sample.every, "sample.every");
  require(o.checkpoint.keep >= 0, "checkpoint.keep", o.checkpoint.keep, "0 keeps all");
  require(o.validation.tokens > 0, "validation.tokens", o.validation.tokens, "must be positive");
  require(o.sample.tokens > 0, "sample.tokens", o.sample.tokens, "must be positive");
  require(o.diagnostics_every >= 0, "diagnostics_every", o.diagnostics_every, "0 is off");
}

}  // namespace

void validate(const TrainOptions& o) {
  ModelConfig model = o.model;
  if (model.vocab == 0) model.vocab = 1;  // the data will tell
  validate(model);
  parse_recompute(o.recompute);
  require(!o.output.empty(), "output", "empty", "name the run directory (runs/NAME)");
  check_length(o);
  check_lora(o);
  require(o.threads >= 0, "threads", o.threads, "0 takes all processors");
  require(o.on_nan == "skip" || o.on_nan == "stop", "on_nan", o.on_nan, "skip or stop");
  require(o.spike_sigma >= 0, "spike_sigma", o.spike_sigma, "must not be negative; 0 is off");
  check_batch(o);
  check_attention(o);
  check_optimizer(o.optim);
  check_cadences(o);
  if (o.epochs > 0) return;  // the data will tell how long the run is
  const RunLimits limits = run_limits(o);
  LearningRate(o.schedule, o.optim.lr, limits);
  AttentionSchedule(o.attention, o.model.layers, o.data.seq_len, limits);
}

std::vector<std::string> advice(const TrainOptions& o) {
  std::vector<std::string> lines;
  bool sparse = false, useless = false;
  for (const AttentionPolicy& p : parse_layer_policies(o.attention.spec, o.model.layers)) {
    sparse = sparse || !p.dense();
    const int64_t k = p.k_fixed > 0 ? p.k_fixed : p.k_min;
    useless = useless || (!p.dense() && k >= o.data.seq_len);
  }
  if (useless) {
    lines.push_back(fmt::format(
        "attention.spec {} keeps every key of a row of {} tokens: nothing is sparse here",
        o.attention.spec, o.data.seq_len));
  }
  // A model that was trained before can look things up already.
  if (sparse && o.init.empty() &&
      parse_extent(o.attention.dense_first, "attention.dense_first").off() &&
      parse_extent(o.attention.anneal, "attention.anneal").off()) {
    lines.push_back(
        "attention.dense_first=0: Top-k from the first step; looking up one of many keys may not "
        "emerge (docs/training.md)");
  }
  return lines;
}

void fit_to_data(TrainOptions& o, const Loader& train, const Loader* validation) {
  if (o.model.vocab == 0) o.model.vocab = train.vocab();
  if (o.model.vocab < train.vocab()) {
    throw_user("model.vocab {} is smaller than the {} tokens of the shards' tokenizer",
               o.model.vocab, train.vocab());
  }
  if (o.epochs > 0) {
    const double rows = o.epochs * static_cast<double>(train.epoch_rows());
    const double step_rows = static_cast<double>(o.batch.tokens / o.data.seq_len);
    o.steps = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(rows / step_rows - 1e-9)));
    o.given.erase("steps");
  }
  PIVOT_CHECK(train.seq_len() == o.data.seq_len, "loader rows are {}, not {}", train.seq_len(),
              o.data.seq_len);
  if (validation != nullptr && validation->tokenizer_hash() != train.tokenizer_hash()) {
    throw_user(
        "data.validation was made with another tokenizer ({}) than data.train ({}): build it again "
        "with the same one",
        validation->tokenizer_hash(), train.tokenizer_hash());
  }
  validate(o.model);
}

}  // namespace pivot
