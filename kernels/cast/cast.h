#pragma once
/// Master weights to the compute dtype: y = x rounded to nearest, ties to even; NaN stays NaN
/// (its payload is the device's own).

#include "kernels/op.h"

namespace pivot {

struct Cast {
  Tensor y;  // out (P) BF16
  Tensor x;  // in  (P) F32
};
void check(const Cast& a);
Cost cost(const Cast& a);
void cast_cpu(const Cast& a, Context& ctx);
void cast_cuda(const Cast& a, Context& ctx);
inline constexpr Op<Cast> cast{"cast", &cast_cpu, PIVOT_CUDA_TWIN(cast_cuda)};

}  // namespace pivot
