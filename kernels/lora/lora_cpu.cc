#include <algorithm>

#include "kernels/lora/lora.h"
#include "kernels/matmul/gemm.h"

namespace pivot {
namespace {

// Multiply-adds of one low-rank product.
double products(const Tensor& full, const Tensor& a) {
  return static_cast<double>(full.count()) * static_cast<double>(a.dim(0));
}

}  // namespace

void check(const LoraMerge& a) {
  PIVOT_CHECK(a.y.shape.rank == 2 && a.a.shape.rank == 2,
              "y must be (O, I) and a (R, I), are {}, {}", to_string(a.y.shape),
              to_string(a.a.shape));
  expect_real(a.y, "y");
  expect(a.w, a.y.dtype, a.y.shape, "w");
  expect(a.a, a.y.dtype, {a.a.dim(0), a.y.dim(1)}, "a");
  expect(a.b, a.y.dtype, {a.y.dim(0), a.a.dim(0)}, "b");
  PIVOT_CHECK(a.y.data == nullptr || a.y.data != a.w.data, "y must not be w");
}

Cost cost(const LoraMerge& a) {
  return {2 * products(a.y, a.a),
          static_cast<double>(a.y.bytes() + a.w.bytes() + a.a.bytes() + a.b.bytes())};
}

void lora_merge_cpu(const LoraMerge& a, Context& ctx) {
  const int64_t inputs = a.y.dim(1);
  const float* w = a.w.as<float>();
  float* y = a.y.as<float>();
  const auto start_from_w = [&](const GemmBlock& block) {
    for (int64_t row = block.row_begin; row < block.row_end; ++row) {
      std::copy(w + row * inputs + block.column_begin, w + row * inputs + block.column_end,
                y + row * inputs + block.column_begin);
    }
  };
  gemm({.m = a.y.dim(0),
        .n = inputs,
        .k = a.a.dim(0),
        .a = a.b.as<float>(),
        .a_stride = a.a.dim(0),
        .a_layout = Layout::Plain,
        .b = a.a.as<float>(),
        .b_stride = inputs,
        .b_layout = Layout::Plain,
        .c = y,
        .c_stride = inputs,
        .beta = 1.0F,
        .alpha = a.scale},
       ctx.pool, start_from_w);
}

void check(const LoraBackward& a) {
  PIVOT_CHECK(a.dy.shape.rank == 2 && a.a.shape.rank == 2,
              "dy must be (O, I) and a (R, I), are {}, {}", to_string(a.dy.shape),
              to_string(a.a.shape));
  const Shape down = {a.a.dim(0), a.dy.dim(1)};
  const Shape up = {a.dy.dim(0), a.a.dim(0)};
  expect(a.dy, DType::F32, a.dy.shape, "dy");
  expect(a.a, DType::F32, down, "a");
  expect(a.b, DType::F32, up, "b");
  expect(a.da, DType::F32, down, "da");
  expect(a.db, DType::F32, up, "db");
}

Cost cost(const LoraBackward& a) {
  return {4 * products(a.dy, a.a),
          static_cast<double>(2 * a.dy.bytes() + 3 * (a.a.bytes() + a.b.bytes()))};
}

void lora_backward_cpu(const LoraBackward& a, Context& ctx) {
  const int64_t outputs = a.dy.dim(0);
  const int64_t inputs = a.dy.dim(1);
  const int64_t rank = a.a.dim(0);
  gemm({.m = rank,
        .n = inputs,
        .k = outputs,
        .a = a.b.as<float>(),
        .a_stride = rank,
        .a_layout = Layout::Transposed,
        .b = a.dy.as<float>(),
        .b_stride = inputs,
        .b_layout = Layout::Plain,
        .c = a.da.as<float>(),
        .c_stride = inputs,
        .beta = 1.0F,
        .alpha = a.scale},
       ctx.pool);
  gemm({.m = outputs,
        .n = rank,
        .k = inputs,
        .a = a.dy.as<float>(),
        .a_stride = inputs,
        .a_layout = Layout::Plain,
        .b = a.a.as<float>(),
        .b_stride = inputs,
        .b_layout = Layout::Transposed,
        .c = a.db.as<float>(),
        .c_stride = rank,
        .beta = 1.0F,
        .alpha = a.scale},
       ctx.pool);
}

}  // namespace pivot
