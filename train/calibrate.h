#pragma once
/// How fast this machine or its GPU is, measured in about a second, and what a step will take on
/// it.

#include <map>
#include <string>

#include "src/core/context.h"
#include "train/compute.h"
#include "train/options.h"
#include "train/plan.h"

namespace pivot {

/// Best rate of repeated matmuls, FLOP/s, through the op and in the dtype that training uses.
double measure_matmul_flops(const Compute& compute, ThreadPool& pool);

/// Rates for estimates.
struct Speed {
  double matmul_flops = 0;                                         // FLOP/s
  double bytes = 0;                                                // bytes/s of element-wise ops
  std::map<std::string, std::map<std::string, double>> attention;  // FLOP/s by policy, then op
};
/// Measures matmul, an element-wise op, and attention forward and backward under every policy of
/// the schedule's first and last stage, on a row short enough to take about a second in all.
Speed measure_speed(const TrainOptions& options, const Compute& compute, ThreadPool& pool);

/// Seconds of the ledger's ops; attention runs under the policies of `layers`.
double estimate_seconds(const CostLedger& ledger, const std::vector<AttentionPolicy>& layers,
                        const Speed& speed);

/// Median seconds of three real optimiser steps under `layers` with random tokens, after one that
/// is not counted. Takes the memory of the run.
double measure_step(const TrainOptions& options, const Compute& compute, const RunPlan& plan,
                    const std::vector<AttentionPolicy>& layers, ThreadPool& pool);

}  // namespace pivot
