#include "kernels/swiglu/swiglu.h"
#include "kernels/vec_math.h"

namespace pivot {
namespace {

// 8192 elements, 96 KiB of traffic, take about 10 us: a task is large beside its hand-out.
constexpr int64_t kElementsPerTask = 8192;

int64_t rows_per_task(int64_t width) {
  return kElementsPerTask / (width + 1) + 1;
}

}  // namespace

void check(const SwigluForward& a) {
  PIVOT_CHECK(a.y.shape.rank == 2, "y must be (N, F), is {}", to_string(a.y.shape));
  expect_real(a.y, "y");
  expect(a.gate_up, a.y.dtype, {a.y.dim(0), 2, a.y.dim(1)}, "gate_up");
}

Cost cost(const SwigluForward& a) {
  return {10.0 * static_cast<double>(a.y.count()),
          static_cast<double>(a.gate_up.bytes() + a.y.bytes())};
}

void swiglu_forward_cpu(const SwigluForward& a, Context& ctx) {
  const int64_t width = a.y.dim(1);
  const float* gate_up = a.gate_up.as<float>();
  float* y = a.y.as<float>();
  ctx.pool.for_ranges(a.y.dim(0), rows_per_task(width), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* gate = gate_up + n * 2 * width;
      const float* up = gate + width;
      float* out = y + n * width;
#pragma omp simd
      for (int64_t f = 0; f < width; ++f) out[f] = gate[f] / (1.0F + vec_exp(-gate[f])) * up[f];
    }
  });
}

void check(const SwigluBackward& a) {
  PIVOT_CHECK(a.dy.shape.rank == 2, "dy must be (N, F), is {}", to_string(a.dy.shape));
  expect_real(a.dy, "dy");
  expect(a.gate_up, a.dy.dtype, {a.dy.dim(0), 2, a.dy.dim(1)}, "gate_up");
  expect(a.dgate_up, a.dy.dtype, {a.dy.dim(0), 2, a.dy.dim(1)}, "dgate_up");
}

Cost cost(const SwigluBackward& a) {
  return {18.0 * static_cast<double>(a.dy.count()),
          static_cast<double>(a.gate_up.bytes() + a.dgate_up.bytes() + a.dy.bytes())};
}

void swiglu_backward_cpu(const SwigluBackward& a, Context& ctx) {
  const int64_t width = a.dy.dim(1);
  const float* gate_up = a.gate_up.as<float>();
  const float* dy = a.dy.as<float>();
  float* dgate_up = a.dgate_up.as<float>();
  ctx.pool.for_ranges(a.dy.dim(0), rows_per_task(width), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* gate = gate_up + n * 2 * width;
      const float* up = gate + width;
      const float* dyr = dy + n * width;
      // May be the same memory as gate and up: each element is read before it is written.
      float* dgate = dgate_up + n * 2 * width;
      float* dup = dgate + width;
#pragma omp simd
      for (int64_t f = 0; f < width; ++f) {
        const float g = gate[f];
        const float u = up[f];
        const float sigmoid = 1.0F / (1.0F + vec_exp(-g));
        dgate[f] = dyr[f] * u * sigmoid * (1.0F + g * (1.0F - sigmoid));
        dup[f] = dyr[f] * g * sigmoid;
      }
    }
  });
}

}  // namespace pivot
