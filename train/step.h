#pragma once
/// The arithmetic of one optimiser step and of validation; runs on any device, also on plan.
///
///   V = valid targets of all micro-batches;   g = sum over micro-batches of d(sum of losses)
///   loss = sum of losses / V;   norm = |g| / V;   AdamW with g / V * min(1, clip / norm)
/// Gradients are kept as sums: V, which differs from step to step, is divided by once, at the end.
///
/// Everything between sending the batches and reading the result happens on the device, the
/// decision whether the update is applied included: on a GPU it is one recorded graph, launched at
/// once.

#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "src/core/cuda.h"
#include "src/model/transformer.h"
#include "train/diagnostics.h"
#include "train/optimizer.h"

namespace pivot {

/// The recorded steps of a run, by what decides their launches: attention, recomputation, and the
/// sizes of the micro-batches. A step runs plainly the first time (libraries make their choices
/// then), is recorded the second time, and launched from then on.
class StepGraphs {
 public:
  /// Runs `body`, or launches what it recorded; the same `key` must mean the same launches with the
  /// same addresses.
  void run(const std::string& key, const std::function<void()>& body, Context& ctx);

 private:
  struct Entry {
    bool ran = false;
    cuda::Graph graph;
  };
  std::map<std::string, Entry> entries_;
};

struct StepInput {
  const Model& model;
  Optimizer& optimizer;
  std::span<const Batch> micro_batches;
  Recompute recompute;
  double lr;
  int64_t update;  // number of this update, counted from 1
  bool diagnose;
  double loss_limit = std::numeric_limits<double>::infinity();  // a higher loss is not applied
  StepGraphs* graphs = nullptr;  // CUDA: records and launches the step as a graph
};

struct StepOutput {
  double loss = 0;       // mean over the valid targets, nats
  double grad_norm = 0;  // before clipping
  int64_t targets = 0;
  bool applied = false;            // false: not finite, or above loss_limit; weights as they were
  std::vector<double> row_losses;  // mean over the valid targets of each row, 0 without any
  std::optional<AttentionDiagnostics> diagnostics;
};

StepOutput train_step(const StepInput& step, Context& ctx);

/// Sum of the losses of one batch, nats. Forward pass only.
double loss_sum(const Model& model, const Batch& batch, Context& ctx);

/// A batch without content of the given size in which every bound is at its worst: rows of one
/// document for cost and workspace, yet offsets for as many documents as there are tokens. For the
/// plan device.
Batch worst_batch(int64_t rows, int64_t seq_len);

}  // namespace pivot
