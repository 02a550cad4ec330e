#include <algorithm>
#include <cmath>

#include "kernels/qk_norm/qk_norm.h"
#include "kernels/qk_norm/row_blocks.h"

namespace pivot {
namespace {

constexpr int64_t kRowsPerTask = 64;

int64_t tasks_of(const QkNormBackward& a) {
  return (a.qkv.dim(0) + kRowsPerTask - 1) / kRowsPerTask;
}

void check_heads(const Tensor& qkv, int heads, int kv_heads) {
  PIVOT_CHECK(qkv.shape.rank == 3, "qkv must be (N, H + 2 G, D), is {}", to_string(qkv.shape));
  PIVOT_CHECK(heads > 0 && kv_heads > 0, "heads {}, kv_heads {}", heads, kv_heads);
  expect_real(qkv, "qkv");
  expect(qkv, qkv.dtype, {qkv.dim(0), heads + 2 * int64_t{kv_heads}, qkv.dim(2)}, "qkv");
}

/// y = x * rstd * weight over one head; returns rstd.
float normalise(float* y, const float* x, const float* weight, int64_t width, float eps) {
  float square = 0;
#pragma omp simd reduction(+ : square)
  for (int64_t d = 0; d < width; ++d) square += x[d] * x[d];
  const float rstd = 1.0F / std::sqrt(square / static_cast<float>(width) + eps);
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) y[d] = x[d] * rstd * weight[d];
  return rstd;
}

/// In place: the gradient of y becomes that of x; dweight gets its share.
void normalise_backward(float* dy, float* dweight, const float* x, const float* weight,
                        int64_t width, float rstd) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t d = 0; d < width; ++d) dot += dy[d] * weight[d] * x[d];
  const float slope = dot * rstd * rstd * rstd / static_cast<float>(width);
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) {
    dweight[d] += dy[d] * x[d] * rstd;
    dy[d] = dy[d] * weight[d] * rstd - x[d] * slope;
  }
}

}  // namespace

void check(const QkNormForward& a) {
  check_heads(a.qkv, a.heads, a.kv_heads);
  expect(a.out, a.qkv.dtype, a.qkv.shape, "out");
  expect(a.rstd, DType::F32, {a.qkv.dim(0), a.heads + a.kv_heads}, "rstd");
  expect(a.q_weight, a.qkv.dtype, {a.qkv.dim(2)}, "q_weight");
  expect(a.k_weight, a.qkv.dtype, {a.qkv.dim(2)}, "k_weight");
}

Cost cost(const QkNormForward& a) {
  return {4.0 * static_cast<double>(a.qkv.count()), 2.0 * static_cast<double>(a.qkv.bytes())};
}

void qk_norm_forward_cpu(const QkNormForward& a, Context& ctx) {
  const int64_t width = a.qkv.dim(2);
  const int64_t row_size = a.qkv.dim(1) * width;
  const int64_t normed = a.heads + a.kv_heads;
  const float* qkv = a.qkv.as<float>();
  const float* q_weight = a.q_weight.as<float>();
  const float* k_weight = a.k_weight.as<float>();
  float* out = a.out.as<float>();
  float* rstd = a.rstd.as<float>();
  ctx.pool.for_ranges(a.qkv.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* in = qkv + n * row_size;
      float* y = out + n * row_size;
      for (int64_t h = 0; h < normed; ++h) {
        const float* weight = h < a.heads ? q_weight : k_weight;
        rstd[n * normed + h] = normalise(y + h * width, in + h * width, weight, width, a.eps);
      }
      std::copy(in + normed * width, in + row_size, y + normed * width);
    }
  });
}

void check(const QkNormBackward& a) {
  check_heads(a.qkv, a.heads, a.kv_heads);
  expect(a.dqkv, a.qkv.dtype, a.qkv.shape, "dqkv");
  expect(a.rstd, DType::F32, {a.qkv.dim(0), a.heads + a.kv_heads}, "rstd");
  expect(a.q_weight, a.qkv.dtype, {a.qkv.dim(2)}, "q_weight");
  expect(a.k_weight, a.qkv.dtype, {a.qkv.dim(2)}, "k_weight");
  expect(a.dq_weight, DType::F32, {a.qkv.dim(2)}, "dq_weight");
  expect(a.dk_weight, DType::F32, {a.qkv.dim(2)}, "dk_weight");
}

Cost cost(const QkNormBackward& a) {
  return {10.0 * static_cast<double>(a.qkv.count()), 3.0 * static_cast<double>(a.qkv.bytes())};
}

size_t scratch_bytes(const QkNormBackward& a, int) {
  return scratch_size(DType::F32, tasks_of(a) * 2 * a.qkv.dim(2));
}

size_t cuda_scratch_bytes(const QkNormBackward& a) {
  return scratch_size(DType::F32, qk_norm_row_blocks(a.qkv.dim(0)) * 2 * a.qkv.dim(2));
}

void qk_norm_backward_cpu(const QkNormBackward& a, Context& ctx) {
  const int64_t width = a.qkv.dim(2);
  const int64_t row_size = a.qkv.dim(1) * width;
  const int64_t normed = a.heads + a.kv_heads;
  const int64_t rows = a.qkv.dim(0);
  const int64_t tasks = tasks_of(a);
  const float* qkv = a.qkv.as<float>();
  const float* rstd = a.rstd.as<float>();
  const float* q_weight = a.q_weight.as<float>();
  const float* k_weight = a.k_weight.as<float>();
  float* dqkv = a.dqkv.as<float>();
  // One partial sum of both weight gradients per task, added in task order.
  const Arena::Scope scope = ctx.scratch.scope();
  float* partial = ctx.scratch.tensor(DType::F32, {tasks, 2, width}).as<float>();
  ctx.pool.for_each(tasks, [&](int64_t task, int) {
    float* sum = partial + task * 2 * width;
    std::fill(sum, sum + 2 * width, 0.0F);
    const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (int64_t n = task * kRowsPerTask; n < end; ++n) {
      for (int64_t h = 0; h < normed; ++h) {
        const bool query = h < a.heads;
        const int64_t at = n * row_size + h * width;
        normalise_backward(dqkv + at, query ? sum : sum + width, qkv + at,
                           query ? q_weight : k_weight, width, rstd[n * normed + h]);
      }
    }
  });
  float* dq_weight = a.dq_weight.as<float>();
  float* dk_weight = a.dk_weight.as<float>();
  for (int64_t task = 0; task < tasks; ++task) {
    const float* sum = partial + task * 2 * width;
    for (int64_t d = 0; d < width; ++d) {
      dq_weight[d] += sum[d];
      dk_weight[d] += sum[width + d];
    }
  }
}

}  // namespace pivot
