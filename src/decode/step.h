#pragma once
/// One decoding step: the newest token of several sequences through the model, against their
/// caches.

#include <functional>

#include "src/decode/kv_cache.h"
#include "src/model/transformer.h"

namespace pivot {

/// Largest batch of one call: up to here matmul_forward gives a row the same bits whatever the
/// number of rows (see few_rows_matmul), so a sequence's results do not depend on its company.
inline constexpr int64_t kStepRows = 16;

/// B <= kStepRows sequences, already extended by the new token; tensors are on the context's
/// device.
struct StepInput {
  Tensor tokens;       // (B) I32
  Tensor positions;    // (B) I32: index of the token
  Tensor lengths;      // (B) I32: positions + 1
  Tensor page_table;   // (B, S) I32
  int64_t max_length;  // upper bound of the lengths
};

/// What happens between the ops of layer `layer`.
struct StepHooks {
  /// Stores keys and values of qkv (B, H + 2 G, D); attention reads them from the cache right
  /// after.
  std::function<void(int layer, const Tensor& qkv)> store;
  /// Sees lse and lse_visible (B, H) of Top-k layers; empty: lse_visible is not computed.
  std::function<void(int layer, const Tensor& lse, const Tensor& lse_visible)> mass;
};

/// Logits (B, V) in ctx.scratch. model.attention are the policies of the step.
Tensor decode_step(const Model& model, const KvCache& cache, const StepInput& input,
                   const StepHooks& hooks, Context& ctx);

}  // namespace pivot
