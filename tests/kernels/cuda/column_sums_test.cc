/// Bias gradients: column sums in a fixed order.

#include "kernels/matmul/column_sums.h"

#include <cmath>

#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/cuda_context.h"

namespace pivot::test {
namespace {

template <class T>
T to(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    return to_bfloat16(x);
  }
}
float value(float x) {
  return x;
}
float value(BFloat16 x) {
  return to_float(x);
}

template <class T>
void check_sums(int64_t count, int64_t width) {
  INFO(count << " rows of " << width);
  const Philox random(1, Stream::Test, 0);
  std::vector<T> rows(static_cast<size_t>(count * width));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = to<T>(static_cast<float>(random.normal(i)));
  std::vector<float> before(static_cast<size_t>(width));
  for (size_t i = 0; i < before.size(); ++i) before[i] = 0.25F * static_cast<float>(i);

  const Shape shape{count, width};
  CudaTestContext ctx(column_sums_scratch(shape));
  CudaBuffer in(ctx, shape, rows);
  CudaBuffer sums(ctx, {width}, before);
  cuda::add_column_sums(sums, in, ctx);
  const std::vector<float> got = sums.download<float>();
  CHECK(sums.intact());
  CHECK(ctx.ctx.scratch.peak() == column_sums_scratch(shape));
  double worst = 0;
  for (int64_t c = 0; c < width; ++c) {
    double want = before[static_cast<size_t>(c)];
    double magnitude = std::abs(want);
    for (int64_t n = 0; n < count; ++n) {
      const double x = value(rows[static_cast<size_t>(n * width + c)]);
      want += x;
      magnitude += std::abs(x);
    }
    const double bound = static_cast<double>(count + 1) * 0x1p-24 * magnitude;
    const double error = std::abs(got[static_cast<size_t>(c)] - want);
    worst = std::max(worst, error == 0 ? 0 : error / bound);
  }
  CHECK(worst <= 1);
}

template <class T>
void check_column_sums() {
  check_sums<T>(1, 1);
  check_sums<T>(3, 8);
  check_sums<T>(255, 37);
  check_sums<T>(257, 264);
  check_sums<T>(1031, 300);
  check_sums<T>(0, 16);
  check_sums<T>(17000, 8);  // as many parts as there are
}

}  // namespace

TEST_CASE("column sums", "[sanitize]") {
  check_column_sums<float>();
  check_column_sums<BFloat16>();
}

}  // namespace pivot::test
