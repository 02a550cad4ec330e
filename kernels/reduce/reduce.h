#pragma once
/// Sum of squares, for the gradient norm. Deterministic for any number of threads and on any device
/// of a kind: fixed blocks are summed in double and added in order.

#include "kernels/op.h"

namespace pivot {

struct SumSquares {
  Tensor sum;  // out (1) F32
  Tensor x;    // in (P) F32
};
void check(const SumSquares& a);
Cost cost(const SumSquares& a);
size_t cuda_scratch_bytes(const SumSquares& a);
void sum_squares_cpu(const SumSquares& a, Context& ctx);
void sum_squares_cuda(const SumSquares& a, Context& ctx);
inline constexpr Op<SumSquares> sum_squares{"sum_squares", &sum_squares_cpu,
                                            PIVOT_CUDA_TWIN(sum_squares_cuda)};

}  // namespace pivot
