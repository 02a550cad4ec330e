#pragma once
/// The matrix products of a linear layer as its CUDA twins compute them.

#include "kernels/cuda/blas.h"
#include "kernels/matmul/matmul.h"

namespace pivot {

/// A matrix as a product reads it.
inline cuda::BlasOperand operand(const Tensor& matrix, Layout layout) {
  return {matrix.data, layout, matrix.dim(1)};
}

/// y = x w^T + bias + residual
inline cuda::BlasGemm output_product(const MatmulForward& a) {
  return {.m = a.x.dim(0),
          .n = a.w.dim(0),
          .k = a.x.dim(1),
          .inputs = a.x.dtype,
          .outputs = a.y.dtype,
          .a = operand(a.x, Layout::Plain),
          .b = operand(a.w, Layout::Transposed),
          .d = a.y.data,
          .d_stride = a.y.dim(1),
          .c = a.residual.data,
          .bias = a.bias.data};
}

/// dx = dy w
inline cuda::BlasGemm input_gradient_product(const MatmulBackward& a) {
  return {.m = a.dy.dim(0),
          .n = a.w.dim(1),
          .k = a.w.dim(0),
          .inputs = a.dy.dtype,
          .outputs = a.dx.dtype,
          .a = operand(a.dy, Layout::Plain),
          .b = operand(a.w, Layout::Plain),
          .d = a.dx.data,
          .d_stride = a.dx.dim(1)};
}

/// dw += dy^T x
inline cuda::BlasGemm weight_gradient_product(const MatmulBackward& a) {
  return {.m = a.w.dim(0),
          .n = a.w.dim(1),
          .k = a.dy.dim(0),
          .inputs = a.dy.dtype,
          .outputs = DType::F32,
          .a = operand(a.dy, Layout::Transposed),
          .b = operand(a.x, Layout::Plain),
          .d = a.dw.data,
          .d_stride = a.dw.dim(1),
          .c = a.dw.data};
}

}  // namespace pivot
