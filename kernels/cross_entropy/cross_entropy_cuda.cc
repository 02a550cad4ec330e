#include <algorithm>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/logit_chunks.h"
#include "kernels/cross_entropy/softmax_rows.h"
#include "kernels/cuda/blas.h"

namespace pivot {
namespace {

/// logits (rows, stride) = x w^T in x's dtype.
void project(const Tensor& logits, const Tensor& x, const Tensor& w, Context& ctx) {
  cuda::gemm({.m = x.dim(0),
              .n = w.dim(0),
              .k = x.dim(1),
              .inputs = x.dtype,
              .outputs = logits.dtype,
              .a = {x.data, Layout::Plain, x.dim(1)},
              .b = {w.data, Layout::Transposed, w.dim(1)},
              .d = logits.data,
              .d_stride = logits.dim(1)},
             ctx);
}

/// dx = dz w, dw += dz^T x unless absent, with dz (rows, stride).
void project_back(const LinearCrossEntropy& a, const Tensor& dz, const Tensor& x, const Tensor& dx,
                  Context& ctx) {
  const int64_t vocab = a.w.dim(0);
  const int64_t width = a.w.dim(1);
  cuda::gemm({.m = dz.dim(0),
              .n = width,
              .k = vocab,
              .inputs = dz.dtype,
              .outputs = dx.dtype,
              .a = {dz.data, Layout::Plain, dz.dim(1)},
              .b = {a.w.data, Layout::Plain, width},
              .d = dx.data,
              .d_stride = width},
             ctx);
  if (!a.dw.present()) return;
  cuda::gemm({.m = vocab,
              .n = width,
              .k = dz.dim(0),
              .inputs = dz.dtype,
              .outputs = DType::F32,
              .a = {dz.data, Layout::Transposed, dz.dim(1)},
              .b = {x.data, Layout::Plain, width},
              .d = a.dw.data,
              .d_stride = width,
              .c = a.dw.data},
             ctx);
}

}  // namespace

void linear_cross_entropy_cuda(const LinearCrossEntropy& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  if (rows == 0) return;
  const LogitChunks chunks = logit_chunks(a);
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor logits = ctx.scratch.tensor(a.x.dtype, {chunks.rows, chunks.stride});
  const bool gradient = a.dx.present();
  for (int64_t begin = 0; begin < rows; begin += chunks.rows) {
    const int64_t end = std::min(begin + chunks.rows, rows);
    const Tensor z = logits.rows(0, end - begin);
    const Tensor x = a.x.rows(begin, end);
    project(z, x, a.w, ctx);
    cuda::softmax_rows(
        {.logits = z,
         .targets = a.targets.rows(begin, end),
         .loss = a.loss.rows(begin, end),
         .vocab = a.w.dim(0),
         .grad_scale = a.grad_scale,
         .gradient = gradient ? cuda::LogitGradient::InPlace : cuda::LogitGradient::Skip},
        ctx);
    if (gradient) project_back(a, z, x, a.dx.rows(begin, end), ctx);
  }
}

}  // namespace pivot
