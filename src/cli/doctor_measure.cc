#include "src/cli/doctor_measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "kernels/matmul/gemm.h"
#include "src/base/philox.h"

namespace pivot {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kSecondsEach = 0.5;
constexpr int kMaxRepeats = 50;

// Best time of repeated calls that together take about kSecondsEach.
template <class F>
double best_seconds(const F& body) {
  double best = INFINITY, total = 0;
  for (int i = 0; i < kMaxRepeats && total < kSecondsEach; ++i) {
    const Clock::time_point start = Clock::now();
    body();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

// Row `row` of a b in double, against c.
double row_error(const std::vector<float>& a, const std::vector<float>& b,
                 const std::vector<float>& c, size_t n, size_t row) {
  double worst = 0;
  for (size_t j = 0; j < n; ++j) {
    double sum = 0, size = 0;
    for (size_t p = 0; p < n; ++p) {
      const double term = double{a[row * n + p]} * double{b[p * n + j]};
      sum += term;
      size += std::abs(term);
    }
    worst = std::max(worst, std::abs(sum - double{c[row * n + j]}) / size);
  }
  return worst;
}

}  // namespace

SgemmResult measure_sgemm(ThreadPool& pool) {
  constexpr int64_t kN = 1024;
  constexpr size_t kCount = size_t{kN} * kN;
  const Philox random(1, Stream::Test);
  std::vector<float> a(kCount), b(kCount), c(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    a[i] = random.uniform(i) - 0.5F;
    b[i] = random.uniform(kCount + i) - 0.5F;
  }
  const Gemm product = {kN,       kN, kN, a.data(), kN, Layout::Plain, b.data(), kN, Layout::Plain,
                        c.data(), kN, 0};
  const double seconds = best_seconds([&] { gemm(product, pool); });
  return {2.0 * kN * kN * kN / seconds * 1e-9, row_error(a, b, c, kN, kN / 2)};
}

double measure_read_bandwidth(ThreadPool& pool) {
  constexpr int64_t kBytes = int64_t{256} << 20;  // beyond any cache
  constexpr int64_t kGrain = int64_t{4} << 20;
  std::vector<uint64_t> memory(kBytes / sizeof(uint64_t));
  const auto count = static_cast<int64_t>(memory.size());
  // Touched by the workers, so that the pages lie where they are read.
  pool.for_ranges(count, kGrain / 8, [&](int64_t begin, int64_t end) {
    std::fill(memory.begin() + begin, memory.begin() + end, uint64_t{1});
  });
  std::vector<uint64_t> sums(static_cast<size_t>(count / (kGrain / 8)) + 1);
  const double seconds = best_seconds([&] {
    pool.for_ranges(count, kGrain / 8, [&](int64_t begin, int64_t end) {
      uint64_t sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += memory[static_cast<size_t>(i)];
      sums[static_cast<size_t>(begin / (kGrain / 8))] = sum;
    });
  });
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  // The sum is used, so the passes cannot be left out.
  return total == memory.size() ? static_cast<double>(kBytes) / seconds : 0;
}

}  // namespace pivot
