#pragma once
/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over one flat buffer of parameters.
///   g = grad_scale * grad;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///   param -= lr * (m / (1 - b1^step) / (sqrt(v / (1 - b2^step)) + eps) + decay * param)

#include "kernels/op.h"

namespace pivot {

struct AdamW {
  Tensor param;        // in-out (P) F32 master weights
  Tensor m;            // in-out (P) F32
  Tensor v;            // in-out (P) F32
  Tensor grad;         // in (P) F32
  Tensor copy_bf16;    // out (P) BF16 or absent: rounded weights for the forward pass
  Tensor segment_end;  // in (S) I64, ascending, last is P: segments of constant decay
  Tensor decay;        // in (S) F32: weight decay of each segment
  float lr;
  float beta1;
  float beta2;
  float eps;
  float grad_scale;  // clipping factor
  int64_t step;      // 1 for the first update
};
void check(const AdamW& a);
Cost cost(const AdamW& a);
void adamw_cpu(const AdamW& a, Context& ctx);
void adamw_cuda(const AdamW& a, Context& ctx);
inline constexpr Op<AdamW> adamw{"adamw", &adamw_cpu, PIVOT_CUDA_TWIN(adamw_cuda)};

}  // namespace pivot
