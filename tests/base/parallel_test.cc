#include "src/base/parallel.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include "tests/support/catch.h"

namespace pivot {

TEST_CASE("every item runs exactly once, for any pool size") {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<std::atomic<int>> hits(137);
      pool.for_each(137, [&](int64_t i, int worker) {
        REQUIRE(worker < threads);
        hits[static_cast<size_t>(i)]++;
      });
      for (const auto& h : hits) REQUIRE(h == 1);
    }
  }
}

TEST_CASE("ranges cover the whole without overlap") {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  pool.for_ranges(1001, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum += i;
  });
  CHECK(sum == 1001 * 1000 / 2);
}

TEST_CASE("an exception in a body reaches the caller and the pool lives on") {
  ThreadPool pool(2);
  CHECK_THROWS_AS(pool.for_each(50,
                                [](int64_t i, int) {
                                  if (i == 7) throw std::runtime_error("seven");
                                }),
                  std::runtime_error);
  std::atomic<int> count{0};
  pool.for_each(10, [&](int64_t, int) { count++; });
  CHECK(count == 10);
}

}  // namespace pivot
