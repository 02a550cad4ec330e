// How a run begins, what it reports, and how it ends.
#include <chrono>
#include <cmath>

#include "build_info.h"
#include "kernels/attention/cuda/paths.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "train/init_model.h"
#include "train/resume.h"
#include "train/setup.h"
#include "train/trainer.h"

namespace pivot {
namespace {

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string bytes_text(size_t bytes) {
  return format_bytes(static_cast<double>(bytes));
}

// Share of rows x seq_len^2 that the documents of a step fill.
double attention_share(const std::vector<Batch>& batches, int64_t seq_len) {
  double pairs = 0, rows = 0;
  for (const Batch& b : batches) {
    for (size_t d = 0; d + 1 < b.doc_offsets.size(); ++d) {
      const double length = b.doc_offsets[d + 1] - b.doc_offsets[d];
      pairs += length * length;
    }
    rows += static_cast<double>(b.rows);
  }
  const double side = static_cast<double>(seq_len);
  return pairs / (rows * side * side);
}

}  // namespace

void Trainer::begin() {
  started_ = clock_seconds();
  begun_ = checked_ = position();
  stage_ = state_.step > 0 ? stage_ : schedule_.stage_at(begun_);
  dir_ = std::make_unique<RunDir>(options_.output, print_config(options_), state_.step);
  dir_->metrics().run(facts());

  const ModelConfig& c = options_.model;
  log::info("pivot {} ({}) on {}{}, {}, {} threads, seed {}", kVersion, kGitHash,
            to_string(ctx_.device),
            ctx_.device.is_cuda() ? fmt::format(" ({})", device_name(compute_)) : "",
            dtype_name(compute_.dtype), pool_.size(), options_.seed);
  log::info("model: {} parameters, {} layers x {}, vocabulary {}, context {}",
            format_si(static_cast<double>(plan_.parameters)), c.layers, c.dim, c.vocab, c.context);
  if (!options_.init.empty()) log::info("starting from {}", options_.init);
  if (trainee_.has_adapters()) {
    log::info("adapters: rank {}, alpha {}, on {}: {} parameters are trained, the rest is frozen",
              options_.lora.rank, options_.lora.effective_alpha(),
              print_option(options_.lora.targets), format_si(static_cast<double>(plan_.trained)));
  }
  log::info("attention: {}; {}", schedule_.describe(), attention_kernels());
  const double epoch_size = static_cast<double>(inputs_.train.epoch_tokens());
  const double total = static_cast<double>(plan_.tokens_per_step() * options_.steps);
  log::info("data: {} tokens a step ({} rows of {}, {} at a time){}", plan_.tokens_per_step(),
            plan_.rows, plan_.seq_len, plan_.micro_rows,
            options_.steps > 0 ? fmt::format(", {} steps, {} tokens, {:.2f} epochs", options_.steps,
                                             format_si(total), total / epoch_size)
                               : "");
  const MemoryPlan& m = plan_.memory;
  log::info(
      "memory: parameters {}, gradients {}, moments {}, activations {}, workspace {}: {} in "
      "all; recompute={}",
      bytes_text(m.parameters), bytes_text(m.gradients), bytes_text(m.moments),
      bytes_text(m.activations), bytes_text(m.workspace), bytes_text(m.total()),
      options_.recompute);
  int64_t decayed = 0;
  for (const ParamInfo& p : trainee_.trained())
    decayed += p.decay == Decay::Yes ? p.shape.count() : 0;
  log::info("optimiser: AdamW, lr {} ({}), weight decay {} on {} parameters, clipping at norm {}",
            options_.optim.lr, options_.schedule.type, options_.optim.weight_decay,
            format_si(static_cast<double>(decayed)), options_.optim.grad_clip);
  for (const std::string& line : advice(options_)) log::warning("{}", line);
  if (inputs_.init != nullptr) {
    for (const std::string& line : advice(options_, inputs_.init->info())) {
      log::warning("{}", line);
    }
  }
  if (!resumed_.empty()) log::info("resuming after step {} from {}", state_.step, resumed_);
}

std::string Trainer::attention_kernels() const {
  if (!ctx_.device.is_cuda()) return "exact selection, cpu kernels";
  std::string text;
  for (const AttentionSchedule::Stage& stage : schedule_.stages()) {
    for (const AttentionPolicy& policy : stage.layers) {
      const auto path = attention::path_of(policy, compute_.dtype, options_.model.head_dim);
      const std::string part =
          fmt::format("{} {}", policy.dense() ? "dense" : "top-k", attention::to_string(path));
      if (text.find(part) == std::string::npos) text += (text.empty() ? "" : ", ") + part;
    }
  }
  return "exact selection, cuda kernels: " + text;
}

RunMetrics Trainer::facts() const {
  const MemoryPlan& m = plan_.memory;
  const auto d = [](auto x) { return static_cast<double>(x); };
  const double tokens = d(plan_.tokens_per_step());
  return {.step = state_.step,
          .text = {{"pivot", kVersion},
                   {"git", kGitHash},
                   {"build", fmt::format("{} {}", kCompiler, kBuildType)},
                   {"device", to_string(ctx_.device)},
                   {"device_name", device_name(compute_)},
                   {"dtype", dtype_name(compute_.dtype)},
                   {"attention", options_.attention.spec},
                   {"attention_schedule", schedule_.describe()},
                   {"attention_path", attention_kernels()},
                   {"recompute", options_.recompute},
                   {"tokenizer_hash", inputs_.tokenizer_hash},
                   {"init", options_.init},
                   {"resumed_from", resumed_}},
          .numbers = {{"seed", d(options_.seed)},
                      {"threads", d(pool_.size())},
                      {"parameters", d(plan_.parameters)},
                      {"trained_parameters", d(plan_.trained)},
                      {"vocab", d(options_.model.vocab)},
                      {"seq_len", d(plan_.seq_len)},
                      {"tokens_per_step", tokens},
                      {"micro_rows", d(plan_.micro_rows)},
                      {"steps", d(options_.steps)},
                      {"epochs", options_.epochs},
                      {"time_limit", options_.time.seconds},
                      {"epoch_tokens", d(inputs_.train.epoch_tokens())},
                      {"peak_flops", inputs_.peak_flops},
                      {"flops_per_token", plan_.stages.back().model.total.flops / tokens},
                      {"dense_flops_per_token", plan_.dense.total.flops / tokens}},
          .memory = {{"parameters", d(m.parameters)},
                     {"gradients", d(m.gradients)},
                     {"moments", d(m.moments)},
                     {"activations", d(m.activations)},
                     {"workspace", d(m.workspace)},
                     {"libraries", d(m.libraries)},
                     {"merged", d(m.merged)}}};
}

StepMetrics Trainer::measure(const StepOutput& out, const std::vector<Batch>& batches, double lr,
                             double seconds) const {
  const double share = attention_share(batches, plan_.seq_len);
  const double achievable = inputs_.peak_flops * seconds;
  StepMetrics m{.step = state_.step,
                .loss = out.loss,
                .lr = lr,
                .grad_norm = out.grad_norm,
                .tokens = state_.consumed_tokens,
                .epoch = epoch(),
                .targets = out.targets,
                .seconds = seconds,
                .tokens_per_second = static_cast<double>(plan_.tokens_per_step()) / seconds,
                .mfu = flops_of(plan_.stages[stage_].model, share) / achievable,
                .mfu_dense = flops_of(plan_.dense, share) / achievable,
                .kept_mass = {},
                .attention = schedule_.stages()[stage_].spec,
                .memory = static_cast<int64_t>(plan_.memory.total()),
                .elapsed = elapsed()};
  if (out.diagnostics) m.kept_mass = out.diagnostics->kept_mass;
  return m;
}

void Trainer::record_skip(const StepOutput& out, const std::string& reason) {
  const SkipMetrics m{.step = state_.step,
                      .reason = reason,
                      .loss = out.loss,
                      .grad_norm = out.grad_norm,
                      .first_row = state_.consumed_sequences - plan_.rows,
                      .rows = plan_.rows};
  dir_->skipped(m, out.row_losses);
  last_skip_ = reason;
  log::warning("step {} not applied: {} (norm {:.3g}, rows {} to {} of the data)", m.step, reason,
               m.grad_norm, m.first_row, m.first_row + m.rows - 1);
}

double Trainer::epoch() const {
  return static_cast<double>(state_.consumed_sequences) /
         static_cast<double>(std::max<int64_t>(1, inputs_.train.epoch_rows()));
}

void Trainer::give_up() {
  status_.clear();
  dir_->metrics().end(state_.step, "stopped", elapsed());
  throw_user(
      "stopped at step {}: {} (on_nan={}, at most {} steps in a row are skipped). The rows are "
      "in {}/skipped; {} has the last good weights. Lower optim.lr or optim.grad_clip and go on "
      "with "
      "resume={}, or look at the data",
      state_.step, last_skip_, options_.on_nan, StepGuard::kMaxSkipped, dir_->path(), last_save_,
      last_save_);
}

TrainResult Trainer::end(bool interrupted_now) {
  status_.clear();
  const bool by_time = limits_.steps == 0 || state_.step < limits_.steps;
  TrainResult result{.reason = interrupted_now ? TrainResult::Reason::Interrupted
                               : by_time       ? TrainResult::Reason::Time
                                               : TrainResult::Reason::Finished,
                     .step = state_.step,
                     .checkpoint = last_save_.empty() ? resumed_ : last_save_};
  const char* const names[] = {"finished", "time", "interrupted"};
  dir_->metrics().end(state_.step, names[static_cast<int>(result.reason)], elapsed());
  if (interrupted_now) {
    log::info("stopped after step {}, saved in {}; the same command goes on from there",
              result.step, result.checkpoint);
  } else if (state_.step == begun_.step) {
    log::info("nothing left to do: {} is at step {}", result.checkpoint, result.step);
  } else {
    log::info("done: {} steps in {}, saved in {}", result.step, format_duration(elapsed()),
              result.checkpoint);
  }
  if (best_validation_) {
    log::info("lowest held-out loss: {:.4f} after step {}", *best_validation_, best_step_);
  }
  if (rows_without_targets_ > 0) {
    log::warning("{} of {} rows had no token to learn", rows_without_targets_,
                 state_.consumed_sequences);
  }
  return result;
}

double Trainer::elapsed() const {
  return elapsed_before_ + clock_seconds() - started_;
}

Position Trainer::position() const {
  return position_at(state_.step, elapsed(), limits_);
}

double Trainer::seconds_left() const {
  const Position now = position();
  const double done = now.progress - begun_.progress;
  if (done <= 0) return limits_.seconds > 0 ? limits_.seconds - now.elapsed : 0;
  return (1 - now.progress) * (now.elapsed - begun_.elapsed) / done;
}

}  // namespace pivot
