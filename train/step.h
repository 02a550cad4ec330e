#pragma once
/// The arithmetic of one optimiser step and of validation; runs on any device, also on plan.
///
///   V = valid targets of all micro-batches;   g = sum over micro-batches of d(sum of losses) / V
///   loss = sum of losses / V;   norm = |g|;   AdamW with g * min(1, clip / norm)

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "data/batch.h"
#include "src/model/transformer.h"
#include "train/diagnostics.h"
#include "train/optimizer.h"

namespace pivot {

struct StepInput {
  const Model& model;
  Optimizer& optimizer;
  std::span<const Batch> micro_batches;
  Recompute recompute;
  double lr;
  int64_t update;  // number of this update, counted from 1
  bool diagnose;
  /// Sees loss and gradient norm; the weights stay as they are if it returns false.
  std::function<bool(double loss, double grad_norm)> accept;
};

struct StepOutput {
  double loss = 0;       // mean over the valid targets, nats
  double grad_norm = 0;  // before clipping
  int64_t targets = 0;
  bool applied = false;
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
