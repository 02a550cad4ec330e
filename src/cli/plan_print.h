#pragma once
/// What `pivot plan` found, as a page of text and as JSON.

#include <string>
#include <vector>

#include "train/calibrate.h"
#include "train/plan.h"

namespace pivot {

struct PlanReport {
  RunPlan plan;
  int threads = 0;
  size_t budget = 0;  // bytes
  int64_t free_disk = 0;
  std::string vocabulary;             // where it comes from
  int64_t epoch_tokens = 0;           // 0: no data
  double matmul_flops = 0;            // measured peak
  std::vector<double> stage_seconds;  // of one step, by stage; empty: not estimated
  double validation_seconds = 0;      // of one validation
  bool measured = false;              // first and last stage were run, not estimated
  Remedy remedy;                      // where the memory does not suffice
  std::vector<std::string> notes;

  bool fits_memory() const { return plan.memory.total() <= budget; }
  bool fits_disk() const { return static_cast<int64_t>(plan.disk_bytes) <= free_disk; }
  bool fits() const { return fits_memory() && fits_disk(); }
};

/// Steps the run will do and how long it takes: the steps asked for, or fewer if the time ends
/// them.
struct RunTime {
  double steps = 0;
  double seconds = 0;
};
RunTime run_time(const TrainOptions& options, const PlanReport& report);

std::string plan_text(const TrainOptions& options, const PlanReport& report);
std::string plan_json(const TrainOptions& options, const PlanReport& report);

}  // namespace pivot
