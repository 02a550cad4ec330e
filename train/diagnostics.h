#pragma once
/// What attention kept, per layer and head, averaged over the tokens of a step.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/model/transformer.h"

namespace pivot {

struct LayerDiagnostics {
  std::string policy;
  double k = 0;                   // mean number of kept keys
  std::vector<double> kept_mass;  // per head: mean of exp(lse - lse_visible)
  std::vector<double> entropy;    // per head: mean entropy of the kept distribution, nats
};

struct AttentionDiagnostics {
  double kept_mass = 1;  // mean over layers and heads
  std::vector<LayerDiagnostics> layers;
};

/// Sums over micro-batches.
class DiagnosticsSum {
 public:
  explicit DiagnosticsSum(const Model& model);
  /// `stats` as forward_backward() filled them; doc_offsets (n + 1) of the same micro-batch.
  void add(const std::vector<AttentionStats>& stats, std::span<const int32_t> doc_offsets,
           Context& ctx);
  AttentionDiagnostics mean() const;

 private:
  struct Layer {
    AttentionPolicy policy;
    double k = 0;
    std::vector<double> mass, entropy;
  };
  std::vector<Layer> layers_;
  int64_t rows_ = 0;
};

}  // namespace pivot
