#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/attention/attention.h"
#include "src/base/check.h"

namespace pivot {
namespace {

constexpr double kTolerance = 1e-12;  // boundaries are quotients of doubles
constexpr int64_t kRatioUnits = 10000;

bool all_dense(const std::vector<AttentionPolicy>& layers) {
  return std::all_of(layers.begin(), layers.end(), [](const auto& p) { return p.dense(); });
}

// The policy with the share of a row of seq_len tokens that lies `x` of the way, by factors, from
// all of them to what `target` keeps.
AttentionPolicy annealed(const AttentionPolicy& target, double x, int64_t seq_len) {
  if (target.dense()) return target;
  const double kept = static_cast<double>(budget_of(target)(seq_len));
  const double ratio = std::pow(kept / static_cast<double>(seq_len), x);
  AttentionPolicy p = target;
  const auto units = static_cast<int64_t>(std::ceil(ratio * static_cast<double>(kRatioUnits)));
  p.ratio = parse_rational(fmt::format("{}/{}", std::min(units, kRatioUnits), kRatioUnits));
  p.k_min = std::max(target.k_min, target.k_fixed);
  p.k_fixed = 0;
  p.k_max = AttentionPolicy::kNoMax;
  return p;
}

}  // namespace

RunLimits run_limits(const TrainOptions& options) {
  return {options.steps, options.time.seconds};
}

LearningRate::LearningRate(const ScheduleOptions& options, double peak, const RunLimits& limits)
    : peak_(peak), min_ratio_(options.min_lr_ratio) {
  if (options.type == "cosine") {
    shape_ = Shape::Cosine;
  } else if (options.type == "linear") {
    shape_ = Shape::Linear;
  } else if (options.type == "wsd") {
    shape_ = Shape::Wsd;
  } else if (options.type == "constant") {
    shape_ = Shape::Constant;
  } else {
    throw_user("schedule.type '{}' is not known: cosine, linear, wsd or constant", options.type);
  }
  if (!(min_ratio_ >= 0 && min_ratio_ <= 1)) {
    throw_user("schedule.min_lr_ratio {} must lie in [0, 1]", min_ratio_);
  }
  warmup_ =
      share_of_run(parse_extent(options.warmup, "schedule.warmup"), limits, "schedule.warmup");
  decay_ = share_of_run(parse_extent(options.decay, "schedule.decay"), limits, "schedule.decay");
  step_ = limits.steps > 0 ? 1.0 / static_cast<double>(limits.steps) : 0.0;
}

double LearningRate::at(const Position& p) const {
  const double warm = warmup_ > 0 ? std::min(1.0, (p.progress + step_) / warmup_) : 1.0;
  double x = 0;
  if (shape_ == Shape::Wsd) {
    x = decay_ > 0 ? (p.progress - (1 - decay_)) / decay_ : 0.0;
  } else if (warmup_ < 1) {
    x = (p.progress - warmup_) / (1 - warmup_);
  }
  x = std::clamp(x, 0.0, 1.0);
  double shape = 1;
  if (shape_ == Shape::Cosine) {
    shape = min_ratio_ + (1 - min_ratio_) * 0.5 * (1 + std::cos(std::numbers::pi * x));
  } else if (shape_ != Shape::Constant) {
    shape = 1 - (1 - min_ratio_) * x;
  }
  return peak_ * warm * shape;
}

AttentionSchedule::AttentionSchedule(const AttentionOptions& options, int layers, int64_t seq_len,
                                     const RunLimits& limits) {
  const std::vector<AttentionPolicy> target = parse_layer_policies(options.spec, layers);
  const double dense = share_of_run(parse_extent(options.dense_first, "attention.dense_first"),
                                    limits, "attention.dense_first");
  const double anneal =
      share_of_run(parse_extent(options.anneal, "attention.anneal"), limits, "attention.anneal");
  if (dense + anneal > 1 + kTolerance) {
    throw_user("attention.dense_first ({}) and attention.anneal ({}) are longer than the run",
               options.dense_first, options.anneal);
  }
  if (!all_dense(target)) {
    if (dense > 0) add(0, std::vector<AttentionPolicy>(target.size()));
    for (int i = 0; anneal > 0 && i < kAnnealStages; ++i) {
      const double x = static_cast<double>(i) / kAnnealStages;
      std::vector<AttentionPolicy> stage = target;
      for (AttentionPolicy& p : stage) p = annealed(p, x, seq_len);
      add(dense + x * anneal, std::move(stage));
    }
  }
  add(stages_.empty() ? 0 : dense + anneal, target);
}

void AttentionSchedule::add(double begin, std::vector<AttentionPolicy> layers) {
  std::string spec = to_string(layers);
  stages_.push_back({begin, std::move(layers), std::move(spec)});
}

size_t AttentionSchedule::stage_at(const Position& p) const {
  size_t stage = 0;
  while (stage + 1 < stages_.size() && p.progress + kTolerance >= stages_[stage + 1].begin) {
    ++stage;
  }
  return stage;
}

std::string AttentionSchedule::describe() const {
  std::string text = stages_.front().spec;
  if (stages_.size() == 1) return text;
  if (stages_.size() > 2) {
    const Stage& first = stages_[stages_.size() - 1 - kAnnealStages];
    text += fmt::format(", from {:.3g}% of the run annealed", 100 * first.begin);
  }
  const Stage& last = stages_.back();
  return text + fmt::format(", from {:.3g}% of the run {}", 100 * last.begin, last.spec);
}

}  // namespace pivot
