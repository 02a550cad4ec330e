#pragma once
/// RMSNorm (Zhang and Sennrich, arXiv 1910.07467).
///   rstd[n] = 1 / sqrt(mean_c x[n, c]^2 + eps),   y[n, c] = x[n, c] * rstd[n] * weight[c]

#include "kernels/op.h"

namespace pivot {

struct RmsNormForward {
  Tensor y;       // out (N, C)
  Tensor rstd;    // out (N) F32, kept for backward
  Tensor x;       // in  (N, C)
  Tensor weight;  // in  (C)
  float eps;      // added to the mean square
};
void check(const RmsNormForward& a);
Cost cost(const RmsNormForward& a);
void rmsnorm_forward_cpu(const RmsNormForward& a, Context& ctx);
void rmsnorm_forward_cuda(const RmsNormForward& a, Context& ctx);
inline constexpr Op<RmsNormForward> rmsnorm_forward{"rmsnorm_forward", &rmsnorm_forward_cpu,
                                                    PIVOT_CUDA_TWIN(rmsnorm_forward_cuda)};

/// With g = dy * weight:
///   dx += rstd * (g - x * rstd^2 * mean_c(g * x)),   dweight += sum_n dy * x * rstd
struct RmsNormBackward {
  Tensor dx;       // in-out (N, C), accumulated: the residual stream's gradient runs past the norm
  Tensor dweight;  // in-out (C) F32, accumulated
  Tensor dy;       // in (N, C)
  Tensor x;        // in (N, C)
  Tensor weight;   // in (C)
  Tensor rstd;     // in (N) F32
};
void check(const RmsNormBackward& a);
Cost cost(const RmsNormBackward& a);
size_t scratch_bytes(const RmsNormBackward& a, int workers);
size_t cuda_scratch_bytes(const RmsNormBackward& a);
void rmsnorm_backward_cpu(const RmsNormBackward& a, Context& ctx);
void rmsnorm_backward_cuda(const RmsNormBackward& a, Context& ctx);
inline constexpr Op<RmsNormBackward> rmsnorm_backward{"rmsnorm_backward", &rmsnorm_backward_cpu,
                                                      PIVOT_CUDA_TWIN(rmsnorm_backward_cuda)};

}  // namespace pivot
