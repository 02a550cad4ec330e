#pragma once
/// SwiGLU (Shazeer, arXiv 2002.05202): y = silu(gate) * up, silu(x) = x / (1 + exp(-x)).

#include "kernels/op.h"

namespace pivot {

struct SwigluForward {
  Tensor y;        // out (N, F)
  Tensor gate_up;  // in  (N, 2, F): gate, then up, as one projection writes them
};
void check(const SwigluForward& a);
Cost cost(const SwigluForward& a);
void swiglu_forward_cpu(const SwigluForward& a, Context& ctx);
void swiglu_forward_cuda(const SwigluForward& a, Context& ctx);
inline constexpr Op<SwigluForward> swiglu_forward{"swiglu_forward", &swiglu_forward_cpu,
                                                  PIVOT_CUDA_TWIN(swiglu_forward_cuda)};

struct SwigluBackward {
  Tensor dgate_up;  // out (N, 2, F); may be gate_up itself
  Tensor dy;        // in (N, F)
  Tensor gate_up;   // in (N, 2, F)
};
void check(const SwigluBackward& a);
Cost cost(const SwigluBackward& a);
void swiglu_backward_cpu(const SwigluBackward& a, Context& ctx);
void swiglu_backward_cuda(const SwigluBackward& a, Context& ctx);
inline constexpr Op<SwigluBackward> swiglu_backward{"swiglu_backward", &swiglu_backward_cpu,
                                                    PIVOT_CUDA_TWIN(swiglu_backward_cuda)};

}  // namespace pivot
