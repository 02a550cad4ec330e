#include "kernels/attention/cuda/forward.h"
#include "kernels/attention/cuda/paths.h"
#include "kernels/attention/cuda/select.h"

namespace pivot::attention {

void tiled_forward(const AttentionForward& a, Context& ctx) {
  const Budget budget = budget_of(a.policy);
  // The budget's share of the keys does not grow with their number, so the longest row decides.
  if (a.policy.dense() || budget(a.max_document) == a.max_document) {
    select_everything(a, ctx);
  } else {
    select_sets(a, {}, ctx);
  }
  masked_forward(a, ctx);
}

}  // namespace pivot::attention
