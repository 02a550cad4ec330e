#include "src/eval/statistics.h"

#include <cmath>
#include <vector>

#include "src/base/philox.h"
#include "tests/support/catch.h"

using namespace pivot;
using namespace pivot::eval;

TEST_CASE("one unit per cluster is the textbook standard error", "[eval]") {
  const std::vector<Cluster> units = {{1, 1}, {0, 1}, {1, 1}, {1, 1}, {0, 1}};
  const Estimate e = clustered_mean(units);
  CHECK(e.value == Approx(0.6));
  CHECK(e.n == 5);
  // sd with n - 1: sqrt(5 * 0.6 * 0.4 / 4) / sqrt(5)
  CHECK(e.stderr_value == Approx(std::sqrt(1.2 / 4 / 5)));
}

TEST_CASE("units that agree inside clusters count as few", "[eval]") {
  const std::vector<Cluster> together = {{4, 4}, {0, 4}, {4, 4}, {0, 4}};
  const Estimate e = clustered_mean(together);
  CHECK(e.value == Approx(0.5));
  CHECK(e.stderr_value == Approx(std::sqrt(4.0 / 3 * 4 * 4) / 16));
  const std::vector<Cluster> mixed = {{2, 4}, {2, 4}, {2, 4}, {2, 4}};
  CHECK(clustered_mean(mixed).stderr_value == Approx(0));
}

TEST_CASE("too little data has no standard error", "[eval]") {
  const std::vector<Cluster> one = {{3, 4}, {0, 0}};
  CHECK(clustered_mean(one).value == Approx(0.75));
  CHECK(std::isnan(clustered_mean(one).stderr_value));
  CHECK(std::isnan(clustered_mean({}).value));
}

TEST_CASE("the stated error is the spread over repetitions", "[eval]") {
  const Philox random(3, Stream::Test);
  double sum = 0, squares = 0, stated = 0;
  constexpr int kRepeats = 400;
  for (int r = 0; r < kRepeats; ++r) {
    std::vector<Cluster> clusters;
    for (int c = 0; c < 50; ++c) {
      const auto at = static_cast<uint64_t>(1000 * r + 10 * c);
      Cluster& cluster = clusters.emplace_back();
      cluster.n = 1 + static_cast<int64_t>(random.below(5, 4 * at));
      const double easy = random.uniform(8 * at + 7);  // documents differ in difficulty
      for (int64_t i = 0; i < cluster.n; ++i) {
        cluster.sum += random.uniform(8 * at + static_cast<uint64_t>(i)) < easy;
      }
    }
    const Estimate e = clustered_mean(clusters);
    sum += e.value;
    squares += e.value * e.value;
    stated += e.stderr_value;
  }
  const double mean = sum / kRepeats;
  const double spread = std::sqrt(squares / kRepeats - mean * mean);
  CHECK(stated / kRepeats == Approx(spread).epsilon(0.12));
}

TEST_CASE("paired differences cancel what both share", "[eval]") {
  const std::vector<Cluster> a = {{10, 2}, {2, 2}, {7, 2}};
  const std::vector<Cluster> b = {{11, 2}, {3, 2}, {8, 2}};
  const Estimate e = paired_difference(a, b);
  CHECK(e.value == Approx(0.5));
  CHECK(e.stderr_value == Approx(0).margin(1e-12));
}

TEST_CASE("Wilson's interval", "[eval]") {
  CHECK(wilson(0.5, 100).low == Approx(0.4038).margin(1e-4));
  CHECK(wilson(0.5, 100).high == Approx(0.5962).margin(1e-4));
  CHECK(wilson(1.0, 100).low == Approx(0.9630).margin(1e-4));
  CHECK(wilson(1.0, 100).high == Approx(1.0));
  CHECK(wilson(0.0, 0).high == 1);
}

TEST_CASE("McNemar's exact test on known tables", "[eval]") {
  CHECK(mcnemar(0, 0) == Approx(1));
  CHECK(mcnemar(5, 5) == Approx(1));
  CHECK(mcnemar(0, 5) == Approx(2.0 / 32));
  CHECK(mcnemar(1, 9) == Approx(2 * 11.0 / 1024));
  CHECK(mcnemar(9, 1) == Approx(mcnemar(1, 9)));
  CHECK(mcnemar(10, 100) < 1e-15);
}
