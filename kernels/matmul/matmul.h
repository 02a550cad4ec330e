#pragma once
/// Linear layer with its epilogues: y = x w^T + bias + residual. Results are rounded once; on GPUs
/// a BF16 result with bias and residual is rounded before the second of them is added, too.

#include "kernels/op.h"

namespace pivot {

struct MatmulForward {
  Tensor y;         // out (N, O): x's dtype, or F32 (logits)
  Tensor x;         // in  (N, I)
  Tensor w;         // in  (O, I) x's dtype
  Tensor bias;      // in  (O) y's dtype, or absent
  Tensor residual;  // in  (N, O) y's dtype, or absent; may be y itself
};
void check(const MatmulForward& a);
Cost cost(const MatmulForward& a);
void matmul_forward_cpu(const MatmulForward& a, Context& ctx);
void matmul_forward_cuda(const MatmulForward& a, Context& ctx);
inline constexpr Op<MatmulForward> matmul_forward{"matmul_forward", &matmul_forward_cpu,
                                                  PIVOT_CUDA_TWIN(matmul_forward_cuda)};

/// dx = dy w,   dw += dy^T x,   dbias += sum_n dy; what is absent is not computed (frozen weights).
struct MatmulBackward {
  Tensor dx;     // out (N, I) or absent
  Tensor dw;     // in-out (O, I) F32 or absent, accumulated
  Tensor dbias;  // in-out (O) F32 or absent, accumulated
  Tensor dy;     // in (N, O)
  Tensor x;      // in (N, I)
  Tensor w;      // in (O, I)
};
void check(const MatmulBackward& a);
Cost cost(const MatmulBackward& a);
size_t cuda_scratch_bytes(const MatmulBackward& a);
void matmul_backward_cpu(const MatmulBackward& a, Context& ctx);
void matmul_backward_cuda(const MatmulBackward& a, Context& ctx);
inline constexpr Op<MatmulBackward> matmul_backward{"matmul_backward", &matmul_backward_cpu,
                                                    PIVOT_CUDA_TWIN(matmul_backward_cuda)};

}  // namespace pivot
