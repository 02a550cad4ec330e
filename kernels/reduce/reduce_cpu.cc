#include <vector>

#include "kernels/reduce/reduce.h"
#include "kernels/reduce/sum_blocks.h"

namespace pivot {
namespace {

// 256 KiB, some 20 us of reading.
constexpr int64_t kBlock = 65536;

double sum_of_squares(const float* x, int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return sum;
}

}  // namespace

void check(const SumSquares& a) {
  PIVOT_CHECK(a.x.shape.rank == 1, "x must be (P), is {}", to_string(a.x.shape));
  expect(a.x, DType::F32, a.x.shape, "x");
  expect(a.sum, DType::F32, {1}, "sum");
}

Cost cost(const SumSquares& a) {
  return {2.0 * static_cast<double>(a.x.count()), static_cast<double>(a.x.bytes())};
}

size_t cuda_scratch_bytes(const SumSquares& a) {
  return scratch_size(DType::I64, sum_blocks(a.x.count()));
}

void sum_squares_cpu(const SumSquares& a, Context& ctx) {
  const int64_t count = a.x.count();
  const float* x = a.x.as<float>();
  std::vector<double> block_sum(static_cast<size_t>((count + kBlock - 1) / kBlock));
  ctx.pool.for_ranges(count, kBlock, [&](int64_t begin, int64_t end) {
    block_sum[static_cast<size_t>(begin / kBlock)] = sum_of_squares(x + begin, end - begin);
  });
  double total = 0;
  for (const double sum : block_sum) total += sum;
  *a.sum.as<float>() = static_cast<float>(total);
}

}  // namespace pivot
