#pragma once
/// What a run leaves behind:
///
///   config.toml                 resolved options
///   metrics.jsonl               train/metrics.h
///   events.out.tfevents.*       the scalars of it, for TensorBoard
///   samples.jsonl               {"step", "attention", "prompt", "text"}
///   skipped/step_XXXXXXXX.json  steps that were not applied: which rows, their losses
///   gemm_choices.json           GPU: the kernels its matrix products took (kernels/cuda/blas.h)
///   checkpoints/step_XXXXXXXX   checkpoints/checkpoint.h

#include <cstdint>
#include <string>
#include <vector>

#include "train/jsonl.h"
#include "train/metrics.h"
#include "train/tensorboard.h"

namespace pivot {

class RunDir {
 public:
  /// Creates the directory or goes on with it after `step`. Throws Error if it cannot be written.
  RunDir(const std::string& path, const std::string& config_toml, int64_t step);

  const std::string& path() const { return path_; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }

  MetricsWriter& metrics() { return metrics_; }
  /// Metrics and TensorBoard alike.
  void step(const StepMetrics& m);
  void validation(const ValidationMetrics& m);
  void diagnostics(int64_t step, const AttentionDiagnostics& m, double elapsed);
  void sample(int64_t step, const std::string& attention, const std::string& prompt,
              const std::string& text);
  /// Metrics, and a file with the mean loss of every row of the step.
  void skipped(const SkipMetrics& m, const std::vector<double>& row_losses);

 private:
  std::string path_;
  MetricsWriter metrics_;
  JsonlFile samples_;
  TensorBoardWriter board_;
};

}  // namespace pivot
