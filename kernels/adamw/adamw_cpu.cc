#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/adamw/adamw.h"

namespace pivot {
namespace {

// 16 bytes read and 12 written an element: 1.8 MB, some 100 us.
constexpr int64_t kElementsPerTask = 65536;

/// What is the same for all parameters.
struct Step : AdamWScalars {
  float one_minus_beta1, one_minus_beta2;
};

Step step_of(const AdamW& a) {
  Step step{};
  std::memcpy(static_cast<AdamWScalars*>(&step), a.scalars.as<float>(), sizeof(AdamWScalars));
  step.one_minus_beta1 = static_cast<float>(1 - static_cast<double>(a.beta1));
  step.one_minus_beta2 = static_cast<float>(1 - static_cast<double>(a.beta2));
  return step;
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
    const float mi = a.beta1 * m[i] + s.one_minus_beta1 * g;
    const float vi = a.beta2 * v[i] + s.one_minus_beta2 * (g * g);
    m[i] = mi;
    v[i] = vi;
    const float denominator = std::sqrt(vi) * s.root_correction2 + a.eps;
    param[i] -= s.correction1 * mi / denominator + shrink * param[i];
  }
}

}  // namespace

AdamWScalars adamw_scalars(double lr, double beta1, double beta2, int64_t step) {
  PIVOT_CHECK(step >= 1, "step is {}, the first is 1", step);
  const auto as_used = [](double x) { return static_cast<double>(static_cast<float>(x)); };
  const auto updates = static_cast<double>(step);
  const double bias1 = 1 - std::pow(as_used(beta1), updates);
  const double bias2 = 1 - std::pow(as_used(beta2), updates);
  return {.lr = static_cast<float>(lr),
          .correction1 = static_cast<float>(as_used(lr) / bias1),
          .root_correction2 = static_cast<float>(1 / std::sqrt(bias2)),
          .grad_scale = 1,
          .apply = 1};
}

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
  expect(a.scalars, DType::F32, {kAdamWScalars}, "scalars");
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
  if (step.apply == 0) return;
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
