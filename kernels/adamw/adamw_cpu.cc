#include <algorithm>
#include <cmath>

#include "kernels/adamw/adamw.h"

namespace pivot {
namespace {

// 16 bytes read and 12 written an element: 1.8 MB, some 100 us.
constexpr int64_t kElementsPerTask = 65536;

/// What is the same for all parameters of a segment.
struct Step {
  float grad_scale, beta1, beta2, one_minus_beta1, one_minus_beta2, eps;
  float correction1;       // lr / (1 - beta1^step)
  float root_correction2;  // 1 / sqrt(1 - beta2^step)
  float lr;
};

Step step_of(const AdamW& a) {
  const auto step = static_cast<double>(a.step);
  const double bias1 = 1 - std::pow(static_cast<double>(a.beta1), step);
  const double bias2 = 1 - std::pow(static_cast<double>(a.beta2), step);
  return {.grad_scale = a.grad_scale,
          .beta1 = a.beta1,
          .beta2 = a.beta2,
          .one_minus_beta1 = static_cast<float>(1 - static_cast<double>(a.beta1)),
          .one_minus_beta2 = static_cast<float>(1 - static_cast<double>(a.beta2)),
          .eps = a.eps,
          .correction1 = static_cast<float>(static_cast<double>(a.lr) / bias1),
          .root_correction2 = static_cast<float>(1 / std::sqrt(bias2)),
          .lr = a.lr};
}

void update(const AdamW& a, const Step& s, float decay, int64_t begin, int64_t end) {
  float* param = a.param.as<float>();
  float* m = a.m.as<float>();
  float* v = a.v.as<float>();
  const float* grad = a.grad.as<float>();
  const float shrink = s.lr * decay;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const float g = s.grad_scale * grad[i];
    const float mi = s.beta1 * m[i] + s.one_minus_beta1 * g;
    const float vi = s.beta2 * v[i] + s.one_minus_beta2 * (g * g);
    m[i] = mi;
    v[i] = vi;
    const float denominator = std::sqrt(vi) * s.root_correction2 + s.eps;
    param[i] -= s.correction1 * mi / denominator + shrink * param[i];
  }
}

}  // namespace

void check(const AdamW& a) {
  PIVOT_CHECK(a.param.shape.rank == 1, "param must be (P), is {}", to_string(a.param.shape));
  PIVOT_CHECK(a.decay.shape.rank == 1 && a.decay.dim(0) > 0, "decay must be (S), S > 0, is {}",
              to_string(a.decay.shape));
  expect(a.param, DType::F32, a.param.shape, "param");
  expect(a.m, DType::F32, a.param.shape, "m");
  expect(a.v, DType::F32, a.param.shape, "v");
  expect(a.grad, DType::F32, a.param.shape, "grad");
  expect_if_present(a.copy_bf16, DType::BF16, a.param.shape, "copy_bf16");
  expect(a.decay, DType::F32, a.decay.shape, "decay");
  expect(a.segment_end, DType::I64, a.decay.shape, "segment_end");
  PIVOT_CHECK(a.step >= 1, "step is {}, the first is 1", a.step);
}

Cost cost(const AdamW& a) {
  return {16.0 * static_cast<double>(a.param.count()),
          static_cast<double>(7 * a.param.bytes() + a.copy_bf16.bytes())};
}

void adamw_cpu(const AdamW& a, Context& ctx) {
  const int64_t count = a.param.count();
  const int64_t segments = a.decay.dim(0);
  const int64_t* segment_end = a.segment_end.as<int64_t>();
  const float* decay = a.decay.as<float>();
  PIVOT_CHECK(
      std::is_sorted(segment_end, segment_end + segments) && segment_end[segments - 1] == count,
      "segment_end must ascend to {}", count);
  const Step step = step_of(a);
  ctx.pool.for_ranges(count, kElementsPerTask, [&](int64_t begin, int64_t end) {
    int64_t segment = std::upper_bound(segment_end, segment_end + segments, begin) - segment_end;
    for (int64_t i = begin; i < end; ++segment) {
      const int64_t stop = std::min(end, segment_end[segment]);
      update(a, step, decay[segment], i, stop);
      i = stop;
    }
    if (a.copy_bf16.present()) {
      const float* param = a.param.as<float>();
      BFloat16* copy = a.copy_bf16.as<BFloat16>();
      for (int64_t i = begin; i < end; ++i) copy[i] = to_bfloat16(param[i]);
    }
  });
}

}  // namespace pivot
