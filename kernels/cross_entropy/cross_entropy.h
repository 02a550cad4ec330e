#pragma once
/// Output projection and cross-entropy in one, by chunks of rows: logits (N, V) never exist at
/// once.
///   z = x[n] w^T,   loss[n] = logsumexp(z) - z[target[n]]   for target[n] >= 0, else 0
///   dz = grad_scale * (softmax(z) - onehot(target)),   dx = dz w,   dw += dz^T x

#include "kernels/op.h"

namespace pivot {

inline constexpr int32_t kIgnoreTarget = -1;

struct LinearCrossEntropy {
  Tensor loss;       // out (N) F32, nats
  Tensor dx;         // out (N, C) or absent: no gradients are computed
  Tensor dw;         // in-out (V, C) F32, accumulated; present exactly when dx is
  Tensor x;          // in (N, C)
  Tensor w;          // in (V, C)
  Tensor targets;    // in (N) I32, in [0, V) or kIgnoreTarget
  float grad_scale;  // 1 / number of valid targets of the whole optimiser step
};
void check(const LinearCrossEntropy& a);
Cost cost(const LinearCrossEntropy& a);
size_t scratch_bytes(const LinearCrossEntropy& a, int workers);
void linear_cross_entropy_cpu(const LinearCrossEntropy& a, Context& ctx);
void linear_cross_entropy_cuda(const LinearCrossEntropy& a, Context& ctx);
inline constexpr Op<LinearCrossEntropy> linear_cross_entropy{
    "linear_cross_entropy", &linear_cross_entropy_cpu, PIVOT_CUDA_TWIN(linear_cross_entropy_cuda)};

}  // namespace pivot
