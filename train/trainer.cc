#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "build_info.h"
#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "train/calibrate.h"
#include "train/init_model.h"
#include "train/resume.h"
#include "train/setup.h"

namespace pivot {
namespace {

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The value a checkpoint kept under `key`, or 0.
double kept_value(const TrainState& state, const char* key) {
  const auto it = state.values.find(key);
  return it == state.values.end() ? 0 : it->second;
}

// A micro-batch size decides rounding, so a resumed run keeps the one that was chosen for it.
TrainOptions complete(TrainOptions o, const TrainInputs& inputs, ThreadPool& pool,
                      std::string& checkpoint) {
  if (inputs.init != nullptr) {
    adopt_model(o, inputs.init->info());
    require_tokenizer_of(inputs.init->info(), inputs.tokenizer_hash, o.init);
  }
  validate(o);
  fit_to_data(o, inputs.train, inputs.validation);
  checkpoint = resume_from(o);
  if (!checkpoint.empty()) {
    const CheckpointInfo info = read_checkpoint_info(checkpoint);
    require_same_run(o, info.config_toml, checkpoint);
    refuse_later_checkpoints(o, info.state.step);
    const auto rows = static_cast<int64_t>(kept_value(info.state, "micro_rows"));
    const int64_t step_rows = o.batch.tokens / o.data.seq_len;
    if (o.batch.micro == 0 && rows > 0 && step_rows % rows == 0) o.batch.micro = rows;
  }
  if (o.batch.micro == 0) {
    o.batch.micro = choose_micro_rows(o, compute_memory(compute_of(o)).total, pool);
  }
  return o;
}

// On a GPU memory that is not there fails at once: better before hours of data are read, and with
// the categories.
RunPlan checked_plan(const TrainOptions& o, const Compute& compute, ThreadPool& pool) {
  RunPlan plan = plan_run(o, pool);
  if (!compute.device.is_cuda()) return plan;
  const size_t available = compute_memory(compute).available;
  const MemoryPlan& m = plan.memory;
  if (m.total() - m.libraries <= available) return plan;
  const auto text = [](size_t bytes) { return format_bytes(static_cast<double>(bytes)); };
  const Remedy remedy = find_remedy(o, available, pool);
  throw_user(
      "the run does not fit on {}: parameters {}, gradients {}, moments {}, activations {}, "
      "workspace "
      "{}, {} free (other processes on the GPU count: see nvidia-smi); {}",
      to_string(compute.device), text(m.parameters), text(m.gradients), text(m.moments),
      text(m.activations), text(m.workspace), text(available),
      remedy.change.empty() ? "`pivot plan` shows more; use a smaller model or shorter data.seq_len"
                            : fmt::format("it would fit with {}", remedy.change));
}

}  // namespace

Trainer::Trainer(TrainOptions options, TrainInputs inputs, TrainCallbacks callbacks)
    : inputs_(std::move(inputs)),
      callbacks_(std::move(callbacks)),
      pool_(options.threads),
      options_(complete(std::move(options), inputs_, pool_, resumed_)),
      limits_(run_limits(options_)),
      compute_(compute_of(options_)),
      plan_(checked_plan(options_, compute_, pool_)),
      arena_(compute_.device, plan_.memory.arena()),
      ctx_{compute_.device, pool_, arena_},
      trainee_(options_, compute_, ctx_),
      rate_(options_.schedule, options_.optim.lr, limits_),
      schedule_(options_.attention, options_.model.layers, options_.data.seq_len, limits_),
      guard_({options_.on_nan == "stop", options_.spike_sigma}) {
  if (!callbacks_.stop) callbacks_.stop = interrupted;
  load_gemm_choices();
  if (inputs_.peak_flops <= 0) inputs_.peak_flops = measure_matmul_flops(compute_, pool_);
  load_weights();
}

TrainResult Trainer::run() {
  begin();
  bool interrupted_now = false, gave_up = false;
  while (!interrupted_now && !gave_up && position().progress < 1) {
    const StepMetrics m = step();
    gave_up = guard_.must_stop();
    interrupted_now = callbacks_.stop();
    after_step(m, gave_up || interrupted_now);
  }
  save_gemm_choices();
  if (gave_up) give_up();
  return end(interrupted_now);
}

StepMetrics Trainer::step() {
  const Position at = position();
  const double start = clock_seconds();
  const bool changed = use_attention(at);
  const std::vector<Batch> batches = next_batches();
  const int64_t number = state_.step + 1;
  const int64_t every = options_.diagnostics_every;
  const double lr = rate_.at(at);
  const StepOutput out =
      train_step({.model = trainee_.model(),
                  .optimizer = trainee_.optimizer(),
                  .micro_batches = batches,
                  .recompute = parse_recompute(options_.recompute),
                  .lr = lr,
                  .update = updates_ + 1,
                  .diagnose = every > 0 && (changed || number == 1 || number % every == 0),
                  .loss_limit = guard_.limit(),
                  .graphs = &graphs_},
                 ctx_);
  const std::string refusal = guard_.account(out.loss, out.grad_norm, out.applied);
  if (out.applied) ++updates_;
  state_.step = number;
  state_.consumed_sequences += plan_.rows;
  state_.consumed_tokens += plan_.tokens_per_step();
  count_rows_without_targets(batches);
  if (out.diagnostics) {
    kept_mass_ = out.diagnostics->kept_mass;
    dir_->diagnostics(number, *out.diagnostics, elapsed());
  }
  if (!out.applied) record_skip(out, refusal);
  return measure(out, batches, lr, clock_seconds() - start);
}

std::vector<Batch> Trainer::next_batches() const {
  std::vector<Batch> batches;
  for (int64_t row = 0; row < plan_.rows; row += plan_.micro_rows) {
    batches.push_back(inputs_.train.batch(state_.consumed_sequences + row, plan_.micro_rows));
  }
  return batches;
}

// Rows no token of which is learnt (a dialogue cut before its first answer) cost time and teach
// nothing.
void Trainer::count_rows_without_targets(const std::vector<Batch>& batches) {
  int64_t count = 0;
  for (const Batch& batch : batches) {
    const auto length = static_cast<std::ptrdiff_t>(plan_.seq_len);
    for (auto row = batch.targets.begin(); row != batch.targets.end(); row += length) {
      count += std::all_of(row, row + length, [](int32_t t) { return t == kNoTarget; }) ? 1 : 0;
    }
  }
  if (count > 0 && rows_without_targets_ == 0) {
    log::warning("step {}: {} of {} rows have no token to learn; the end of the run counts them",
                 state_.step, count, plan_.rows);
  }
  rows_without_targets_ += count;
}

bool Trainer::use_attention(const Position& at) {
  const size_t stage = schedule_.stage_at(at);
  trainee_.model().attention = schedule_.stages()[stage].layers;
  if (stage == stage_) return false;
  log::info("attention from step {}: {}", state_.step + 1, schedule_.stages()[stage].spec);
  guard_.restart_history();
  stage_ = stage;
  return true;
}

void Trainer::after_step(const StepMetrics& m, bool stopping) {
  dir_->step(m);
  status_.show({m, options_.steps, kept_mass_, seconds_left(), options_.epochs});
  const Position now = position();
  const bool last = now.progress >= 1;
  const auto is_due = [&](const std::string& every, const char* key) {
    return !stopping && (last || due(parse_extent(every, key), checked_, now));
  };
  if (inputs_.validation != nullptr && !parse_extent(options_.validation.every, "").off() &&
      is_due(options_.validation.every, "validation.every") && validate_model() &&
      options_.checkpoint.keep_best) {
    save_best();
  }
  if (callbacks_.sample && !parse_extent(options_.sample.every, "").off() &&
      is_due(options_.sample.every, "sample.every")) {
    write_sample();
  }
  if (stopping || is_due(options_.checkpoint.every, "checkpoint.every")) save();
  checked_ = now;
}

bool Trainer::validate_model() {
  const Loader& loader = *inputs_.validation;
  const int64_t wanted =
      (options_.validation.tokens + options_.data.seq_len - 1) / options_.data.seq_len;
  const int64_t rows = std::min(wanted, loader.epoch_rows());
  double sum = 0, bytes = 0;
  int64_t targets = 0;
  bool bytes_known = true;
  for (int64_t row = 0; row < rows; row += plan_.micro_rows) {
    const Batch batch = loader.batch(row, std::min(plan_.micro_rows, rows - row));
    const int64_t valid = batch.valid_targets();
    sum += loss_sum(trainee_.model(), batch, ctx_);
    targets += valid;
    bytes += static_cast<double>(batch.bytes);
    bytes_known = bytes_known && (batch.bytes > 0 || valid == 0);
  }
  if (targets == 0) throw_user("data.validation has no targets: nothing to validate on");
  ValidationMetrics m{.step = state_.step,
                      .loss = sum / static_cast<double>(targets),
                      .bits_per_byte = {},
                      .tokens = targets,
                      .attention = schedule_.stages()[stage_].spec,
                      .elapsed = elapsed()};
  if (bytes_known && bytes > 0) m.bits_per_byte = sum / std::log(2.0) / bytes;
  dir_->validation(m);
  log::info("step {}: held-out loss {:.4f}{} ({} tokens, {})", m.step, m.loss,
            m.bits_per_byte ? fmt::format(", {:.4f} bits/byte", *m.bits_per_byte) : "", m.tokens,
            m.attention);
  if (best_validation_ && m.loss >= *best_validation_) return false;
  best_validation_ = m.loss;
  best_step_ = m.step;
  return true;
}

void Trainer::write_sample() {
  const Model& model = trainee_.model();
  const std::vector<TextSample> samples =
      trainee_.has_adapters() ? callbacks_.sample(MergedModel(model, ctx_).model(), pool_)
                              : callbacks_.sample(model, pool_);
  for (const TextSample& s : samples) {
    dir_->sample(state_.step, schedule_.stages()[stage_].spec, s.prompt, s.text);
  }
}

}  // namespace pivot
