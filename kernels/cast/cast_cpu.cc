#include "kernels/cast/cast.h"

namespace pivot {
namespace {

constexpr int64_t kElementsPerTask = 65536;

}  // namespace

void check(const Cast& a) {
  PIVOT_CHECK(a.x.shape.rank == 1, "x must be (P), is {}", to_string(a.x.shape));
  expect(a.x, DType::F32, a.x.shape, "x");
  expect(a.y, DType::BF16, a.x.shape, "y");
}

Cost cost(const Cast& a) {
  return {0, static_cast<double>(a.x.bytes() + a.y.bytes())};
}

void cast_cpu(const Cast& a, Context& ctx) {
  const float* x = a.x.as<float>();
  BFloat16* y = a.y.as<BFloat16>();
  ctx.pool.for_ranges(a.x.count(), kElementsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = to_bfloat16(x[i]);
  });
}

}  // namespace pivot
