#include "kernels/update_gate/decide.h"
#include "kernels/update_gate/update_gate.h"

namespace pivot {

void check(const UpdateGate& a) {
  expect(a.scalars, DType::F32, {kAdamWScalars}, "scalars");
  expect(a.result, DType::F32, {3}, "result");
  PIVOT_CHECK(a.losses.shape.rank == 1, "losses must be (N), is {}", to_string(a.losses.shape));
  expect(a.losses, DType::F32, a.losses.shape, "losses");
  expect(a.norm_squared, DType::F32, {1}, "norm_squared");
  expect(a.limits, DType::F32, {2}, "limits");
  PIVOT_CHECK(a.grad_clip >= 0, "grad_clip is {}", a.grad_clip);
}

Cost cost(const UpdateGate& a) {
  return {static_cast<double>(a.losses.count()), static_cast<double>(a.losses.bytes())};
}

void update_gate_cpu(const UpdateGate& a, Context&) {
  const float* losses = a.losses.as<float>();
  double sum = 0;
  for (int64_t n = 0; n < a.losses.count(); ++n) sum += static_cast<double>(losses[n]);
  decide_update(sum, *a.norm_squared.as<float>(), a.limits.as<float>(), a.grad_clip,
                reinterpret_cast<AdamWScalars*>(a.scalars.as<float>()), a.result.as<float>());
}

}  // namespace pivot
