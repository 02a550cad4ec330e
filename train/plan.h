#pragma once
/// What a run will need, found by running the real step on the plan device.

#include <string>
#include <vector>

#include "src/core/context.h"
#include "train/options.h"
#include "train/schedule.h"

namespace pivot {

/// Bytes held on the device from the first step to the last.
struct MemoryPlan {
  size_t parameters = 0;  // master weights and, with BF16, the rounded ones
  size_t gradients = 0;
  size_t moments = 0;
  size_t activations = 0;  // saved from forward for backward
  size_t workspace = 0;    // the rest of the arena at its peak: batch, temporaries, statistics
  size_t libraries = 0;    // on a GPU: CUDA context, library workspaces (train/compute.h)
  size_t merged = 0;       // adapters with samples: the merged weights, while one is written
  size_t arena() const { return activations + workspace; }
  size_t total() const { return parameters + gradients + moments + arena() + libraries + merged; }
};

/// One stage of the attention schedule; costs are of one optimiser step.
struct StagePlan {
  double begin = 0;  // progress
  std::string spec;
  CostLedger model;  // without what recomputation repeats: what MFU counts
  CostLedger work;   // everything that is executed
};

struct RunPlan {
  int64_t parameters = 0;
  int64_t trained = 0;  // of them, or in adapters
  int64_t seq_len = 0;
  int64_t rows = 0;        // of an optimiser step
  int64_t micro_rows = 0;  // of a micro-batch
  int64_t steps = 0;       // 0: only time ends the run
  MemoryPlan memory;
  std::vector<StagePlan> stages;
  CostLedger dense;       // of one optimiser step with dense attention, nothing recomputed
  CostLedger validation;  // of one validation, attention of the last stage
  double validations = 0;
  size_t checkpoint_bytes = 0;  // one checkpoint
  size_t disk_bytes = 0;        // the kept ones and one being written

  int64_t tokens_per_step() const { return rows * seq_len; }
};

/// Plans for the options' device, which need not be there. `options` passed validate() and has
/// model.vocab and batch.micro set. `pool` is the pool of the run: scratch memory depends on its
/// size.
RunPlan plan_run(const TrainOptions& options, ThreadPool& pool);

/// Rows of a micro-batch for batch.micro = 0: the largest divisor of the step's rows that has at
/// most kMicroTokens (GPU: kGpuMicroTokens) tokens and whose arena takes at most a quarter of
/// `memory` (GPU: with which the run fits into nine tenths of it); 1 if none does.
int64_t choose_micro_rows(const TrainOptions& options, size_t memory, ThreadPool& pool);
inline constexpr int64_t kMicroTokens = 8192;      // beyond it matmuls gain nothing on a CPU
inline constexpr int64_t kGpuMicroTokens = 65536;  // nor on a GPU

/// FLOPs of a ledger whose attention ran on documents that fill `attention_share` of the T^2 the
/// plan assumed.
double flops_of(const CostLedger& ledger, double attention_share);

/// A change of options and what it brings the total to.
struct Remedy {
  std::string change;  // "recompute=selective batch.micro=1"
  size_t total = 0;
};
/// The mildest change that fits into `budget`, or one with an empty change if none does.
Remedy find_remedy(const TrainOptions& options, size_t budget, ThreadPool& pool);

}  // namespace pivot
