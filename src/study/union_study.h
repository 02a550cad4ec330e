#pragma once
/// pivot study union: of a trained model, how many keys the rows of a tile keep together
/// (kernels/attention_union), by layer and head.

#include <cstdint>
#include <string>
#include <vector>

#include "data/loader.h"
#include "src/core/context.h"
#include "src/model/transformer.h"

namespace pivot::study {

struct UnionOptions {
  std::vector<AttentionPolicy> policies;  // one result each; group=head
  int64_t rows = 4;                       // of the loader, from its first on
  int64_t least_visible = 0;              // tiles whose last row sees fewer keys are left out
};

struct UnionResult {
  AttentionPolicy policy;
  /// (L) x (H): mean share of the visible keys that a tile's rows keep together.
  std::vector<std::vector<double>> share;
  int64_t tiles = 0;  // measured per layer and head

  double mean() const;
  double mean_of_layer(size_t layer) const;
};

/// The model runs with its own attention; the sets are those of `policies` on its queries and keys.
/// Throws UserError if no tile is long enough.
std::vector<UnionResult> measure_union(const Model& model, const Loader& loader,
                                       const UnionOptions& options, Device device,
                                       ThreadPool& pool);

}  // namespace pivot::study
