#pragma once
/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) over one flat buffer of parameters.
///   g = grad_scale * grad;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///   param -= lr * (m / (1 - b1^step) / (sqrt(v / (1 - b2^step)) + eps) + decay * param)
/// What changes from step to step is read from the device's memory: a recorded step stays valid.

#include "kernels/op.h"

namespace pivot {

struct AdamWScalars {
  float lr;
  float correction1;       // lr / (1 - beta1^step)
  float root_correction2;  // 1 / sqrt(1 - beta2^step)
  float grad_scale;        // clipping factor
  float apply;             // 0: the update changes nothing
};
inline constexpr int64_t kAdamWScalars = sizeof(AdamWScalars) / sizeof(float);

/// For the update number `step`, 1 for the first: computed in double from lr and betas rounded to
/// fp32, as the update uses them; grad_scale and apply are 1.
AdamWScalars adamw_scalars(double lr, double beta1, double beta2, int64_t step);

struct AdamW {
  Tensor param;        // in-out (P) F32 master weights
  Tensor m;            // in-out (P) F32
  Tensor v;            // in-out (P) F32
  Tensor grad;         // in (P) F32
  Tensor copy_bf16;    // out (P) BF16 or absent: rounded weights for the forward pass
  Tensor segment_end;  // in (S) I64, ascending, last is P: segments of constant decay
  Tensor decay;        // in (S) F32: weight decay of each segment
  Tensor scalars;      // in (5) F32: AdamWScalars
  float beta1;
  float beta2;
  float eps;
};
void check(const AdamW& a);
Cost cost(const AdamW& a);
void adamw_cpu(const AdamW& a, Context& ctx);
void adamw_cuda(const AdamW& a, Context& ctx);
inline constexpr Op<AdamW> adamw{"adamw", &adamw_cpu, PIVOT_CUDA_TWIN(adamw_cuda)};

}  // namespace pivot
