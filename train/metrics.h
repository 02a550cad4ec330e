#pragma once
/// runs/NAME/metrics.jsonl: one JSON object a line, each with "kind" and, but for the schema,
/// "step".
///
///   schema       version, and for every kind its keys with unit and meaning; first line of the
///   file run          a session begins: device, threads, parameters, attention, memory by
///   category, ... step         after every optimiser step (docs of the keys: kStepKeys in
///   metrics.cc) validation   loss, ppl, bits_per_byte (where bytes are known), tokens, attention,
///   elapsed diagnostics  attention statistics: kept_mass, and layers: [{policy, k, kept_mass[H],
///   entropy[H]}] skip         a step that was not applied: reason, loss, grad_norm, first_row,
///   rows checkpoint   path, seconds end          reason: finished | time | interrupted | stopped;
///   elapsed
/// Numbers that are not finite are written as null.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/diagnostics.h"

namespace pivot {

struct StepMetrics {
  int64_t step = 0;  // steps done, this one included
  double loss = 0;   // nats per valid target, mean over the step
  double lr = 0;
  double grad_norm = 0;  // before clipping
  int64_t tokens = 0;    // consumed by the run so far
  double epoch = 0;      // passes over the training data so far
  int64_t targets = 0;   // valid targets of this step
  double seconds = 0;    // of this step
  double tokens_per_second = 0;
  double mfu = 0;                   // FLOPs of the model as trained / time / measured matmul peak
  double mfu_dense = 0;             // the same with the FLOPs that dense attention would take
  std::optional<double> kept_mass;  // in steps with diagnostics
  std::string attention;            // spec of this step
  int64_t memory = 0;               // bytes held
  double elapsed = 0;               // seconds of training, over all sessions
};

struct ValidationMetrics {
  int64_t step = 0;
  double loss = 0;  // nats per target
  std::optional<double> bits_per_byte;
  int64_t tokens = 0;  // targets looked at
  std::string attention;
  double elapsed = 0;
};

struct SkipMetrics {
  int64_t step = 0;
  std::string reason;
  double loss = 0;
  double grad_norm = 0;
  int64_t first_row = 0;  // rows of the loader
  int64_t rows = 0;
};

struct RunMetrics {
  int64_t step = 0;  // steps done before this session
  std::vector<std::pair<std::string, std::string>> text;
  std::vector<std::pair<std::string, double>> numbers;
  std::vector<std::pair<std::string, double>> memory;  // bytes by category
};

class MetricsWriter {
 public:
  /// Creates the file with its schema, or goes on with the one that is there: records later than
  /// `step` (of a session that was killed after its last checkpoint) are dropped, so that every
  /// step appears once.
  MetricsWriter(const std::string& path, int64_t step);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  void run(const RunMetrics& m);
  void step(const StepMetrics& m);
  void validation(const ValidationMetrics& m);
  void diagnostics(int64_t step, const AttentionDiagnostics& m, double elapsed);
  void skip(const SkipMetrics& m);
  void checkpoint(int64_t step, const std::string& path, double seconds);
  void end(int64_t step, const std::string& reason, double elapsed);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pivot
