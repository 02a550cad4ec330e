#pragma once
/// Documents one behind the other as the model's training path takes them, on the device.

#include <span>
#include <vector>

#include "src/core/context.h"
#include "src/eval/predictor.h"
#include "src/model/transformer.h"

namespace pivot::eval {

/// Host side of ModelInput and targets.
struct PackedDocuments {
  std::vector<int32_t> tokens, positions, targets;  // (N)
  std::vector<int32_t> offsets;                     // (n + 1)
  int64_t longest = 0;

  explicit PackedDocuments(std::span<const EvalDocument> documents);
  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
};

/// Copies to the device; tensors live in ctx.scratch.
ModelInput upload_input(const PackedDocuments& packed, Context& ctx);
Tensor upload_ids(const std::vector<int32_t>& ids, Context& ctx);

}  // namespace pivot::eval
