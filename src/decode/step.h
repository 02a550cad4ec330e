#pragma once
/// One decoding step: the newest token of several sequences through the model, against their
/// caches.

#include "src/decode/kv_cache.h"
#include "src/model/transformer.h"

namespace pivot {

/// Largest batch of one call. Up to here matmul_forward on the CPU gives a row the same bits
/// whatever the number of rows (see few_rows_matmul); on CUDA a step always has this many, of which
/// some may be empty: a sequence's results do not depend on its company.
inline constexpr int64_t kStepRows = 16;

/// B <= kStepRows sequences, already extended by the new token; tensors are on the context's
/// device. A row of length 0 is empty: it runs with its token at its position, stores nothing and
/// has logits of no meaning.
struct StepInput {
  Tensor tokens;       // (B) I32
  Tensor positions;    // (B) I32: index of the token; 0 in empty rows
  Tensor lengths;      // (B) I32: positions + 1; 0 in empty rows
  Tensor page_table;   // (B, S) I32
  int64_t max_length;  // upper bound of the lengths
};

/// Whether lse_visible of Top-k layers is computed: one exponential per visible key.
enum class KeptMass { Ignore, Measure };

/// In ctx.scratch.
struct StepResult {
  Tensor logits;       // (B, V) F32
  Tensor lse;          // (L, B, H) F32, with Measure: of the kept keys
  Tensor lse_visible;  // (L, B, H) F32, with Measure: filled for Top-k layers
};

/// Stores the new keys and values, then attends. model.attention are the policies of the step.
StepResult decode_step(const Model& model, const KvCache& cache, const StepInput& input,
                       KeptMass mass, Context& ctx);

}  // namespace pivot
