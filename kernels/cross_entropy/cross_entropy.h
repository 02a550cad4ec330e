#pragma once
/// Output projection and cross-entropy in one, by chunks of rows: logits (N, V) never exist at
/// once.
///   z = x[n] w^T,   loss[n] = logsumexp(z) - z[target[n]]   for target[n] >= 0, else 0
///   dz = grad_scale * (softmax(z) - onehot(target)),   dx = dz w,   dw += dz^T x
/// With BF16 operands z and dz are rounded to BF16, once each; everything between is fp32.

#include "kernels/op.h"

namespace pivot {

inline constexpr int32_t kIgnoreTarget = -1;

struct LinearCrossEntropy {
  Tensor loss;       // out (N) F32, nats
  Tensor dx;         // out (N, C) or absent: no gradients are computed
  Tensor dw;         // in-out (V, C) F32, accumulated; absent without dx, or where w is frozen
  Tensor x;          // in (N, C)
  Tensor w;          // in (V, C)
  Tensor targets;    // in (N) I32, in [0, V) or kIgnoreTarget. Others: BugError on the CPU, NaN
                     // for the row on CUDA, where they cannot be read before the launch
  float grad_scale;  // 1 / number of valid targets of the whole optimiser step
};
void check(const LinearCrossEntropy& a);
Cost cost(const LinearCrossEntropy& a);
size_t scratch_bytes(const LinearCrossEntropy& a, int workers);
size_t cuda_scratch_bytes(const LinearCrossEntropy& a);
void linear_cross_entropy_cpu(const LinearCrossEntropy& a, Context& ctx);
void linear_cross_entropy_cuda(const LinearCrossEntropy& a, Context& ctx);
inline constexpr Op<LinearCrossEntropy> linear_cross_entropy{
    "linear_cross_entropy", &linear_cross_entropy_cpu, PIVOT_CUDA_TWIN(linear_cross_entropy_cuda)};

}  // namespace pivot
