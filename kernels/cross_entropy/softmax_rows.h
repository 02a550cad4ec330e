#pragma once
/// Cross-entropy of rows of logits and its gradient in place, on CUDA devices.

#include "src/core/context.h"
#include "src/core/tensor.h"

namespace pivot::cuda {

enum class LogitGradient { Skip, InPlace };

/// loss[n] = logsumexp(z[n]) - z[n][target[n]], then, if wanted,
/// z[n] = grad_scale * (softmax(z[n]) - onehot(target[n])).
/// A row whose target is kIgnoreTarget gets loss 0 and gradient 0, whatever its logits; one whose
/// target is outside the vocabulary gets NaN for both.
struct SoftmaxRows {
  Tensor logits;   // in-out (N, stride) F32 or BF16, stride a multiple of 64; columns from `vocab`
                   // on are not read and, with the gradient, set to 0
  Tensor targets;  // in (N) I32
  Tensor loss;     // out (N) F32
  int64_t vocab;   // V, 1 to stride
  float grad_scale;
  LogitGradient gradient;
};
void softmax_rows(const SoftmaxRows& a, Context& ctx);

}  // namespace pivot::cuda
