#pragma once
/// RMSNorm of every query and key head over its D channels (Qwen3), inside the packed QKV tensor.
/// Query heads use q_weight, key heads k_weight; value heads are copied.

#include "kernels/op.h"

namespace pivot {

struct QkNormForward {
  Tensor out;       // out (N, H + 2 G, D)
  Tensor rstd;      // out (N, H + G) F32, kept for backward
  Tensor qkv;       // in  (N, H + 2 G, D)
  Tensor q_weight;  // in  (D)
  Tensor k_weight;  // in  (D)
  int heads;
  int kv_heads;
  float eps;
};
void check(const QkNormForward& a);
Cost cost(const QkNormForward& a);
void qk_norm_forward_cpu(const QkNormForward& a, Context& ctx);
void qk_norm_forward_cuda(const QkNormForward& a, Context& ctx);
inline constexpr Op<QkNormForward> qk_norm_forward{"qk_norm_forward", &qk_norm_forward_cpu,
                                                   PIVOT_CUDA_TWIN(qk_norm_forward_cuda)};

struct QkNormBackward {
  Tensor dqkv;       // in-out (N, H + 2 G, D): gradient of `out` in, of `qkv` out
  Tensor dq_weight;  // in-out (D) F32, accumulated
  Tensor dk_weight;  // in-out (D) F32, accumulated
  Tensor qkv;        // in (N, H + 2 G, D), the forward's input
  Tensor rstd;       // in (N, H + G) F32
  Tensor q_weight;   // in (D)
  Tensor k_weight;   // in (D)
  int heads;
  int kv_heads;
};
void check(const QkNormBackward& a);
Cost cost(const QkNormBackward& a);
size_t scratch_bytes(const QkNormBackward& a, int workers);
size_t cuda_scratch_bytes(const QkNormBackward& a);
void qk_norm_backward_cpu(const QkNormBackward& a, Context& ctx);
void qk_norm_backward_cuda(const QkNormBackward& a, Context& ctx);
inline constexpr Op<QkNormBackward> qk_norm_backward{"qk_norm_backward", &qk_norm_backward_cpu,
                                                     PIVOT_CUDA_TWIN(qk_norm_backward_cuda)};

}  // namespace pivot
