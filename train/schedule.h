#pragma once
/// What changes over a run: the learning rate and the attention. Both are functions of progress
/// alone (train/extent.h), never of history.

#include <string>
#include <vector>

#include "kernels/attention/policy.h"
#include "train/extent.h"
#include "train/options.h"

namespace pivot {

RunLimits run_limits(const TrainOptions& options);

/// peak * warmup * shape. Warm-up: linear over W of the run, (step + 1) / W in steps. Shape, with x
/// the share done of what follows the warm-up and m = min_lr_ratio:
///   cosine    m + (1 - m) (1 + cos(pi x)) / 2
///   linear    1 - (1 - m) x
///   wsd       1, then linear down to m over the last `decay` of the run
///   constant  1
class LearningRate {
 public:
  /// Throws UserError naming the key that is wrong.
  LearningRate(const ScheduleOptions& options, double peak, const RunLimits& limits);
  /// For the step that follows `p`.
  double at(const Position& p) const;

 private:
  enum class Shape { Cosine, Linear, Wsd, Constant };
  Shape shape_;
  double peak_, min_ratio_;
  double warmup_;  // share of the run
  double decay_;   // share of the run
  double step_;    // share of the run that one step is; 0 where only time limits it
};

/// Dense for `dense_first` of the run, then, over `anneal`, the ratio falling from 100% to the
/// spec's in kAnnealStages steps of equal factors, then the spec.
class AttentionSchedule {
 public:
  static constexpr int kAnnealStages = 32;

  struct Stage {
    double begin;  // progress at which it starts
    std::vector<AttentionPolicy> layers;
    std::string spec;  // text of `layers`
  };

  /// Throws UserError naming the key that is wrong. seq_len turns a fixed k into a ratio to anneal
  /// to.
  AttentionSchedule(const AttentionOptions& options, int layers, int64_t seq_len,
                    const RunLimits& limits);
  /// In order of use; at least one.
  const std::vector<Stage>& stages() const { return stages_; }
  /// Index of the stage of the step that follows `p`.
  size_t stage_at(const Position& p) const;
  /// "dense, from 10% topk:1%".
  std::string describe() const;

 private:
  void add(double begin, std::vector<AttentionPolicy> layers);
  std::vector<Stage> stages_;
};

}  // namespace pivot
