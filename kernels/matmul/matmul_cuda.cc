#include "kernels/cuda/blas.h"
#include "kernels/matmul/column_sums.h"
#include "kernels/matmul/matmul.h"

namespace pivot {
namespace {

/// A matrix as the product reads it.
cuda::BlasOperand operand(const Tensor& matrix, Layout layout) {
  return {matrix.data, layout, matrix.dim(1)};
}

}  // namespace

void matmul_forward_cuda(const MatmulForward& a, Context& ctx) {
  cuda::gemm({.m = a.x.dim(0),
              .n = a.w.dim(0),
              .k = a.x.dim(1),
              .inputs = a.x.dtype,
              .outputs = a.y.dtype,
              .a = operand(a.x, Layout::Plain),
              .b = operand(a.w, Layout::Transposed),
              .d = a.y.data,
              .d_stride = a.y.dim(1),
              .c = a.residual.data,
              .bias = a.bias.data},
             ctx);
}

void matmul_backward_cuda(const MatmulBackward& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  const int64_t inputs = a.x.dim(1);
  const int64_t outputs = a.w.dim(0);
  if (rows == 0) return;
  if (a.dx.present()) {
    cuda::gemm({.m = rows,
                .n = inputs,
                .k = outputs,
                .inputs = a.dy.dtype,
                .outputs = a.dx.dtype,
                .a = operand(a.dy, Layout::Plain),
                .b = operand(a.w, Layout::Plain),
                .d = a.dx.data,
                .d_stride = inputs},
               ctx);
  }
  cuda::gemm({.m = outputs,
              .n = inputs,
              .k = rows,
              .inputs = a.dy.dtype,
              .outputs = DType::F32,
              .a = operand(a.dy, Layout::Transposed),
              .b = operand(a.x, Layout::Plain),
              .d = a.dw.data,
              .d_stride = inputs,
              .c = a.dw.data},
             ctx);
  if (a.dbias.present()) cuda::add_column_sums(a.dbias, a.dy, ctx);
}

}  // namespace pivot
