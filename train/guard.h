#pragma once
/// Decides whether a step's gradients are applied: not when something is NaN or infinite, and not
/// when the loss is an outlier among those before it.

#include <cstdint>
#include <map>
#include <string>

namespace pivot {

struct GuardOptions {
  bool stop_on_nan = false;
  double spike_sigma = 0;  // 0: losses are not judged
};

class StepGuard {
 public:
  static constexpr int kMaxSkipped = 5;       // in a row, then the run stops
  static constexpr int64_t kMinHistory = 50;  // losses seen before one can be an outlier
  static constexpr double kDecay = 0.98;      // of the running mean and variance: about 50 steps
  static constexpr double kMinSigma = 0.02;   // of the mean: a very even loss is no reason to skip

  explicit StepGuard(const GuardOptions& options) : options_(options) {}

  /// The highest loss the next step may have; infinity where losses are not judged.
  double limit() const;
  /// What became of the step: "" if it was applied, else why not. Updates the running mean and
  /// variance; an outlier enters them cut down to the limit, so that a loss which stays high is
  /// accepted in time. `applied` is the decision, made with limit() where the gradients are
  /// (UpdateResult).
  std::string account(double loss, double grad_norm, bool applied);
  /// True once the run has to stop: kMaxSkipped in a row, or a NaN with stop_on_nan.
  bool must_stop() const { return stop_; }
  /// The loss of the next steps is not comparable (the attention changed): forget mean and
  /// variance.
  void restart_history();
  /// After a stop that was saved: a resumed run gets its attempts again.
  void forgive();

  /// To and from TrainState.values, exactly.
  void save(std::map<std::string, double>& values) const;
  void restore(const std::map<std::string, double>& values);

 private:
  double sigma() const;
  void learn(double loss);
  GuardOptions options_;
  double mean_ = 0, variance_ = 0;
  int64_t seen_ = 0, skipped_in_row_ = 0;
  bool stop_ = false;
};

}  // namespace pivot
