#include <algorithm>
#include <cmath>

#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rmsnorm/row_blocks.h"

namespace pivot {
namespace {

constexpr int64_t kRowsPerTask = 64;

int64_t tasks_of(const RmsNormBackward& a) {
  return (a.x.dim(0) + kRowsPerTask - 1) / kRowsPerTask;
}

// The loops are functions of their own: behind a lambda's captures the compiler does not see that
// the pointers stay the same, and gathers.

/// y = x * rstd * weight over one row; returns rstd.
float normalise(float* y, const float* x, const float* weight, int64_t width, float eps) {
  float square = 0;
#pragma omp simd reduction(+ : square)
  for (int64_t c = 0; c < width; ++c) square += x[c] * x[c];
  const float rstd = 1.0F / std::sqrt(square / static_cast<float>(width) + eps);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) y[c] = x[c] * rstd * weight[c];
  return rstd;
}

/// Adds one row's share to dx and to the task's sum of dweight.
void add_gradients(float* dx, float* dweight, const float* dy, const float* x, const float* weight,
                   int64_t width, float rstd) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t c = 0; c < width; ++c) dot += dy[c] * weight[c] * x[c];
  const float slope = dot * rstd * rstd * rstd / static_cast<float>(width);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) {
    dx[c] += dy[c] * weight[c] * rstd - x[c] * slope;
    dweight[c] += dy[c] * x[c] * rstd;
  }
}

}  // namespace

void check(const RmsNormForward& a) {
  PIVOT_CHECK(a.x.shape.rank == 2, "x must be (N, C), is {}", to_string(a.x.shape));
  expect_real(a.x, "x");
  expect(a.y, a.x.dtype, a.x.shape, "y");
  expect(a.rstd, DType::F32, {a.x.dim(0)}, "rstd");
  expect(a.weight, a.x.dtype, {a.x.dim(1)}, "weight");
}

Cost cost(const RmsNormForward& a) {
  const auto n = static_cast<double>(a.x.count());
  return {4 * n, 2.0 * static_cast<double>(a.x.bytes())};
}

void rmsnorm_forward_cpu(const RmsNormForward& a, Context& ctx) {
  const int64_t width = a.x.dim(1);
  const float* x = a.x.as<float>();
  const float* weight = a.weight.as<float>();
  float* y = a.y.as<float>();
  float* rstd = a.rstd.as<float>();
  ctx.pool.for_ranges(a.x.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      rstd[n] = normalise(y + n * width, x + n * width, weight, width, a.eps);
    }
  });
}

void check(const RmsNormBackward& a) {
  PIVOT_CHECK(a.x.shape.rank == 2, "x must be (N, C), is {}", to_string(a.x.shape));
  expect_real(a.x, "x");
  expect(a.dx, a.x.dtype, a.x.shape, "dx");
  expect(a.dy, a.x.dtype, a.x.shape, "dy");
  expect(a.weight, a.x.dtype, {a.x.dim(1)}, "weight");
  expect(a.dweight, DType::F32, {a.x.dim(1)}, "dweight");
  expect(a.rstd, DType::F32, {a.x.dim(0)}, "rstd");
}

Cost cost(const RmsNormBackward& a) {
  const auto n = static_cast<double>(a.x.count());
  return {10 * n, 4.0 * static_cast<double>(a.x.bytes())};
}

size_t scratch_bytes(const RmsNormBackward& a, int) {
  return scratch_size(DType::F32, tasks_of(a) * a.x.dim(1));
}

size_t cuda_scratch_bytes(const RmsNormBackward& a) {
  return scratch_size(DType::F32, rmsnorm_row_blocks(a.x.dim(0)) * a.x.dim(1));
}

void rmsnorm_backward_cpu(const RmsNormBackward& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  const int64_t width = a.x.dim(1);
  const float* x = a.x.as<float>();
  const float* weight = a.weight.as<float>();
  const float* dy = a.dy.as<float>();
  const float* rstd = a.rstd.as<float>();
  float* dx = a.dx.as<float>();
  // One partial sum of dweight per task, added in task order: the same bits for any number of
  // threads.
  const int64_t tasks = tasks_of(a);
  const Arena::Scope scope = ctx.scratch.scope();
  float* partial = ctx.scratch.tensor(DType::F32, {tasks, width}).as<float>();
  ctx.pool.for_each(tasks, [&](int64_t task, int) {
    float* sum = partial + task * width;
    std::fill(sum, sum + width, 0.0F);
    const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (int64_t n = task * kRowsPerTask; n < end; ++n) {
      add_gradients(dx + n * width, sum, dy + n * width, x + n * width, weight, width, rstd[n]);
    }
  });
  float* dweight = a.dweight.as<float>();
  for (int64_t task = 0; task < tasks; ++task) {
    const float* sum = partial + task * width;
    for (int64_t c = 0; c < width; ++c) dweight[c] += sum[c];
  }
}

}  // namespace pivot
