#include <algorithm>

#include "kernels/matmul/column_sums.h"
#include "kernels/matmul/gemm.h"
#include "kernels/matmul/matmul.h"

namespace pivot {
namespace {

constexpr int64_t kBiasColumns = 64;

/// What the product is added to: y = bias + residual on the block.
void write_epilogue(const MatmulForward& a, const GemmBlock& block) {
  const int64_t outputs = a.w.dim(0);
  const float* bias = a.bias.present() ? a.bias.as<float>() : nullptr;
  const float* residual = a.residual.present() ? a.residual.as<float>() : nullptr;
  float* y = a.y.as<float>();
  for (int64_t n = block.row_begin; n < block.row_end; ++n) {
    float* row = y + n * outputs;
    if (residual == nullptr) {
      std::copy(bias + block.column_begin, bias + block.column_end, row + block.column_begin);
      continue;
    }
    const float* base = residual + n * outputs;
    if (bias == nullptr) {
      std::copy(base + block.column_begin, base + block.column_end, row + block.column_begin);
      continue;
    }
    for (int64_t o = block.column_begin; o < block.column_end; ++o) row[o] = base[o] + bias[o];
  }
}

void add_column_sums(const Tensor& sums, const Tensor& rows, ThreadPool& pool) {
  const int64_t width = rows.dim(1);
  const float* in = rows.as<float>();
  float* out = sums.as<float>();
  pool.for_ranges(width, kBiasColumns, [&](int64_t begin, int64_t end) {
    float sum[kBiasColumns] = {};
    for (int64_t n = 0; n < rows.dim(0); ++n) {
      for (int64_t c = begin; c < end; ++c) sum[c - begin] += in[n * width + c];
    }
    for (int64_t c = begin; c < end; ++c) out[c] += sum[c - begin];
  });
}

}  // namespace

void check(const MatmulForward& a) {
  PIVOT_CHECK(a.x.shape.rank == 2 && a.w.shape.rank == 2,
              "x must be (N, I) and w (O, I), are {}, {}", to_string(a.x.shape),
              to_string(a.w.shape));
  expect_real(a.x, "x");
  const int64_t rows = a.x.dim(0);
  const int64_t outputs = a.w.dim(0);
  expect(a.w, a.x.dtype, {outputs, a.x.dim(1)}, "w");
  const DType out = a.y.dtype == DType::F32 ? DType::F32 : a.x.dtype;
  expect(a.y, out, {rows, outputs}, "y");
  expect_if_present(a.bias, out, {outputs}, "bias");
  expect_if_present(a.residual, out, {rows, outputs}, "residual");
}

Cost cost(const MatmulForward& a) {
  const auto products = static_cast<double>(a.x.count()) * static_cast<double>(a.w.dim(0));
  return {2 * products, static_cast<double>(a.x.bytes() + a.w.bytes() + a.y.bytes() +
                                            a.residual.bytes() + a.bias.bytes())};
}

void matmul_forward_cpu(const MatmulForward& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  const int64_t inputs = a.x.dim(1);
  const int64_t outputs = a.w.dim(0);
  const bool bias = a.bias.present();
  const bool residual = a.residual.present();
  if (rows <= kFewRows) {
    few_rows_matmul({.rows = rows,
                     .inputs = inputs,
                     .outputs = outputs,
                     .x = a.x.as<float>(),
                     .w = a.w.as<float>(),
                     .bias = bias ? a.bias.as<float>() : nullptr,
                     .residual = residual ? a.residual.as<float>() : nullptr,
                     .y = a.y.as<float>()},
                    ctx.pool);
    return;
  }
  const bool in_place = residual && a.residual.data == a.y.data;
  std::function<void(const GemmBlock&)> prepare;
  if (bias || (residual && !in_place)) {
    prepare = [&a](const GemmBlock& block) { write_epilogue(a, block); };
  }
  gemm({.m = rows,
        .n = outputs,
        .k = inputs,
        .a = a.x.as<float>(),
        .a_stride = inputs,
        .a_layout = Layout::Plain,
        .b = a.w.as<float>(),
        .b_stride = inputs,
        .b_layout = Layout::Transposed,
        .c = a.y.as<float>(),
        .c_stride = outputs,
        .beta = bias || residual ? 1.0F : 0.0F},
       ctx.pool, prepare);
}

void check(const MatmulBackward& a) {
  PIVOT_CHECK(a.x.shape.rank == 2 && a.w.shape.rank == 2,
              "x must be (N, I) and w (O, I), are {}, {}", to_string(a.x.shape),
              to_string(a.w.shape));
  const int64_t rows = a.x.dim(0);
  const int64_t inputs = a.x.dim(1);
  const int64_t outputs = a.w.dim(0);
  expect_real(a.x, "x");
  expect(a.w, a.x.dtype, {outputs, inputs}, "w");
  expect(a.dy, a.x.dtype, {rows, outputs}, "dy");
  expect_if_present(a.dw, DType::F32, {outputs, inputs}, "dw");
  expect_if_present(a.dx, a.x.dtype, {rows, inputs}, "dx");
  expect_if_present(a.dbias, DType::F32, {outputs}, "dbias");
}

Cost cost(const MatmulBackward& a) {
  const auto products = static_cast<double>(a.x.count()) * static_cast<double>(a.w.dim(0));
  const bool dx = a.dx.present();
  const bool dw = a.dw.present();
  const size_t for_dx = dx ? a.dy.bytes() + a.w.bytes() + a.dx.bytes() : 0;
  const size_t for_dw = dw ? a.dy.bytes() + a.x.bytes() + 2 * a.dw.bytes() : 0;
  return {((dx ? 2 : 0) + (dw ? 2 : 0)) * products, static_cast<double>(for_dx + for_dw)};
}

size_t cuda_scratch_bytes(const MatmulBackward& a) {
  return a.dbias.present() ? column_sums_scratch(a.dy.shape) : 0;
}

void matmul_backward_cpu(const MatmulBackward& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  const int64_t inputs = a.x.dim(1);
  const int64_t outputs = a.w.dim(0);
  const float* dy = a.dy.as<float>();
  if (a.dx.present()) {
    gemm({.m = rows,
          .n = inputs,
          .k = outputs,
          .a = dy,
          .a_stride = outputs,
          .a_layout = Layout::Plain,
          .b = a.w.as<float>(),
          .b_stride = inputs,
          .b_layout = Layout::Plain,
          .c = a.dx.as<float>(),
          .c_stride = inputs,
          .beta = 0.0F},
         ctx.pool);
  }
  if (a.dw.present()) {
    gemm({.m = outputs,
          .n = inputs,
          .k = rows,
          .a = dy,
          .a_stride = outputs,
          .a_layout = Layout::Transposed,
          .b = a.x.as<float>(),
          .b_stride = inputs,
          .b_layout = Layout::Plain,
          .c = a.dw.as<float>(),
          .c_stride = inputs,
          .beta = 1.0F},
         ctx.pool);
  }
  if (a.dbias.present()) add_column_sums(a.dbias, a.dy, ctx.pool);
}

}  // namespace pivot
