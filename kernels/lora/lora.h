#pragma once
/// Low-rank adaptation of a weight matrix (Hu et al., arXiv 2106.09685): w + scale * b a is what
/// the model computes with, w stays as it is.

#include "kernels/op.h"

namespace pivot {

/// y = w + scale * b a, rounded once.
struct LoraMerge {
  Tensor y;  // out (O, I), not w itself
  Tensor w;  // in  (O, I) y's dtype
  Tensor a;  // in  (R, I) y's dtype
  Tensor b;  // in  (O, R) y's dtype
  float scale;
};
void check(const LoraMerge& a);
Cost cost(const LoraMerge& a);
void lora_merge_cpu(const LoraMerge& a, Context& ctx);
void lora_merge_cuda(const LoraMerge& a, Context& ctx);
inline constexpr Op<LoraMerge> lora_merge{"lora_merge", &lora_merge_cpu,
                                          PIVOT_CUDA_TWIN(lora_merge_cuda)};

/// da += scale * b^T dy,   db += scale * dy a^T. All F32: gradients of the merge's y as if a and b
/// had not been rounded to its type.
struct LoraBackward {
  Tensor da;  // in-out (R, I), accumulated
  Tensor db;  // in-out (O, R), accumulated
  Tensor dy;  // in (O, I)
  Tensor a;   // in (R, I)
  Tensor b;   // in (O, R)
  float scale;
};
void check(const LoraBackward& a);
Cost cost(const LoraBackward& a);
void lora_backward_cpu(const LoraBackward& a, Context& ctx);
void lora_backward_cuda(const LoraBackward& a, Context& ctx);
inline constexpr Op<LoraBackward> lora_backward{"lora_backward", &lora_backward_cpu,
                                                PIVOT_CUDA_TWIN(lora_backward_cuda)};

}  // namespace pivot
