// What a run reads and writes of weights: where it starts from, its checkpoints, its choices of
// kernels.
#include <chrono>
#include <filesystem>

#include "build_info.h"
#include "checkpoints/adapters.h"
#include "kernels/cuda/blas.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "train/host_copy.h"
#include "train/resume.h"
#include "train/trainer.h"

namespace pivot {
namespace {

// In the run's directory: what its steps were computed with.
constexpr const char* kChoicesOfRun = "/gemm_choices.json";

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void Trainer::load_weights() {
  const bool read = resumed_.empty() || trainee_.has_adapters();
  if (inputs_.init != nullptr && read) {
    log::info("reading {}: {}", options_.init, inputs_.init->describe());
    base_fingerprint_ = trainee_.read_weights(*inputs_.init, ctx_);
  }
  if (inputs_.init != nullptr) companions_ = inputs_.init->info().companions;
  if (!resumed_.empty()) {
    restore(resumed_);
  } else if (inputs_.init == nullptr || trainee_.has_adapters()) {
    trainee_.initialise(options_.seed, ctx_);
  }
  for (const auto& [name, text] : inputs_.companions) companions_[name] = text;
  trainee_.weights_changed(ctx_);
}

void Trainer::restore(const std::string& checkpoint) {
  const CheckpointInfo info = read_checkpoint_info(checkpoint);
  if (info.tokenizer_hash != inputs_.tokenizer_hash) {
    throw_user("{} was trained with tokenizer {}, the data has {}: take the data it was trained on",
               checkpoint, info.tokenizer_hash, inputs_.tokenizer_hash);
  }
  companions_ = info.companions;
  if (trainee_.has_adapters()) {
    restore_adapters(checkpoint);
  } else {
    const Optimizer& o = trainee_.optimizer();
    const HostCopy weights(o.weights(), ctx_), m(o.m(), ctx_), v(o.v(), ctx_);
    read_checkpoint_tensors(checkpoint, options_.model, weights.tensor(), m.tensor(), v.tensor());
    for (const HostCopy* copy : {&weights, &m, &v}) copy->put(ctx_);
  }
  state_ = info.state;
  elapsed_before_ = state_.elapsed_seconds;
  updates_ = static_cast<int64_t>(state_.values["updates"]);
  stage_ = std::min(static_cast<size_t>(state_.values["attention_stage"]),
                    schedule_.stages().size() - 1);
  rows_without_targets_ = static_cast<int64_t>(state_.values["rows_without_targets"]);
  if (state_.values.count("best_validation") > 0) {
    best_validation_ = state_.values["best_validation"];
    best_step_ = static_cast<int64_t>(state_.values["best_step"]);
  }
  guard_.restore(state_.values);
}

void Trainer::restore_adapters(const std::string& checkpoint) {
  const AdapterInfo info = read_adapter_info(checkpoint);
  if (info.base_fingerprint != base_fingerprint_) {
    throw_user(
        "init = {} is not the model {} was trained on: that was {} with other weights; give its "
        "place now",
        options_.init, checkpoint, info.base);
  }
  if (lora_targets(info.lora) != lora_targets(options_.lora) ||
      info.lora.rank != options_.lora.rank) {
    throw_user("{}: its adapters are not those its config.toml tells of", checkpoint);
  }
  const Optimizer& o = trainee_.optimizer();
  const HostCopy weights(o.weights(), ctx_), m(o.m(), ctx_), v(o.v(), ctx_);
  read_adapter_tensors(checkpoint, options_.model, {weights.tensor(), m.tensor(), v.tensor()});
  for (const HostCopy* copy : {&weights, &m, &v}) copy->put(ctx_);
}

void Trainer::load_gemm_choices() {
  if (!ctx_.device.is_cuda() || options_.gemm_choices.empty()) return;
  auto& blas = cuda::state<cuda::Blas>(ctx_.device.index);
  blas.set_measuring(true);
  // The last one loaded holds: a resumed run goes on as it began, whatever others measured since.
  for (const std::string& path : {options_.gemm_choices, options_.output + kChoicesOfRun}) {
    if (std::filesystem::exists(path)) blas.load_choices(path);
  }
}

void Trainer::save_gemm_choices() const {
  if (!ctx_.device.is_cuda() || options_.gemm_choices.empty()) return;
  const auto& blas = cuda::state<cuda::Blas>(ctx_.device.index);
  blas.save_choices(options_.output + kChoicesOfRun);
  const auto parent = std::filesystem::path(options_.gemm_choices).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent);
  blas.save_choices(options_.gemm_choices);
}

std::string Trainer::save() {
  save_gemm_choices();
  const double start = clock_seconds();
  const bool stopped = guard_.must_stop();
  // Whoever resumes after the guard stopped the run gets its attempts again.
  if (stopped) guard_.forgive();
  state_.elapsed_seconds = elapsed();
  state_.values = {{"updates", static_cast<double>(updates_)},
                   {"micro_rows", static_cast<double>(plan_.micro_rows)},
                   {"attention_stage", static_cast<double>(stage_)},
                   {"rows_without_targets", static_cast<double>(rows_without_targets_)}};
  if (best_validation_) {
    state_.values["best_validation"] = *best_validation_;
    state_.values["best_step"] = static_cast<double>(best_step_);
  }
  guard_.save(state_.values);
  last_save_ = save_weights(dir_->checkpoints(), Moments::Save);
  prune_checkpoints(dir_->checkpoints(), options_.checkpoint.keep);
  dir_->metrics().checkpoint(state_.step, last_save_, clock_seconds() - start);
  return last_save_;
}

CheckpointInfo Trainer::checkpoint_info() const {
  return {.model = options_.model,
          .attention = schedule_.stages()[stage_].spec,
          .tokenizer_kind = inputs_.tokenizer_kind,
          .tokenizer_bytes = inputs_.tokenizer_bytes,
          .tokenizer_hash = inputs_.tokenizer_hash,
          .config_toml = print_config(options_),
          .pivot_version = fmt::format("{} ({})", kVersion, kGitHash),
          .state = state_,
          .companions = companions_};
}

std::string Trainer::save_weights(const std::string& dir, Moments moments) {
  const Optimizer& o = trainee_.optimizer();
  const HostCopy weights(o.weights(), ctx_);
  weights.get(ctx_);
  std::optional<HostCopy> m, v;
  AdapterTensors tensors{weights.tensor(), {}, {}};
  if (moments == Moments::Save) {
    m.emplace(o.m(), ctx_).get(ctx_);
    v.emplace(o.v(), ctx_).get(ctx_);
    tensors = {weights.tensor(), m->tensor(), v->tensor()};
  }
  if (!trainee_.has_adapters()) {
    return save_checkpoint(dir, checkpoint_info(), tensors.weights, tensors.m, tensors.v);
  }
  const AdapterInfo adapters{options_.lora, options_.init, base_fingerprint_};
  const MergedSource merged(trainee_.model(), checkpoint_info(), ctx_);
  SaveOptions save;
  save.more = {adapter_file(options_.model, adapters, tensors, state_.step)};
  return save_checkpoint(dir, merged.info(), merged, save);
}

void Trainer::save_best() {
  const std::string dir = dir_->path() + "/best";
  const std::string path = save_weights(dir, Moments::Leave);
  prune_checkpoints(dir, 1);
  log::info("step {}: lowest held-out loss so far, kept in {}", state_.step, path);
}

}  // namespace pivot
