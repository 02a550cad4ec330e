#pragma once
/// Runs decoding steps: inputs to the device, the model, results to the host.

#include <span>
#include <vector>

#include "src/decode/step.h"

namespace pivot {

/// A row of a step: `token` of sequence `id` (already extended by it), which has `length` tokens up
/// to and with this one. Rows of one sequence are consecutive tokens of it: all are stored before
/// any attends, and each sees the keys up to its own.
struct StepRow {
  int id;
  int32_t token;
  int64_t length;
};

/// On CUDA every step has kStepRows rows, unused ones empty, so that the products' shapes and with
/// them the bits are always the same, and nothing of a launch depends on the sequences: the first
/// step runs launch by launch (libraries make their choices), the second is recorded as a graph,
/// and from then on a step is a small upload, one graph and the download of the logits.
class StepRunner {
 public:
  /// `model` and `cache` must outlive this. Steps have at most `most_rows` rows of sequences of at
  /// most `max_length` tokens.
  StepRunner(const Model& model, const KvCache& cache, int64_t most_rows, int64_t max_length,
             KeptMass mass, Device device, ThreadPool& pool);

  void run(std::span<const StepRow> rows);
  /// Logits (V) of row `row` of the last run.
  void copy_logits(int64_t row, float* out);
  /// Adds the mean kept mass over heads of each row of the last run to sums (L); Top-k layers only.
  void add_kept_mass(std::vector<double>& sums);

 private:
  Context context() { return {device_, pool_, arena_, nullptr}; }
  void upload(std::span<const StepRow> rows);
  void upload_pages(int64_t row, const std::vector<int32_t>& pages, Context& ctx);
  void execute();

  const Model& model_;
  const KvCache& cache_;
  Device device_;
  ThreadPool& pool_;
  KeptMass mass_;
  int64_t capacity_;  // rows there is room for
  int64_t max_length_;
  int64_t rows_ = 0;            // of the last run
  std::vector<int32_t> table_;  // (capacity, S): what page_table_ holds
  Arena arena_;
  Tensor numbers_;     // (3, capacity) I32: tokens, positions, lengths
  Tensor page_table_;  // (capacity, S) I32
  StepResult result_;  // in the arena, at the same place every time
  int64_t eager_steps_ = 0;
  cuda::Graph graph_;
};

}  // namespace pivot
