#include "train/guard.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

namespace pivot {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Losses around 2 with a standard deviation of 0.05.
double noisy(int i) {
  return 2 + 0.07 * std::sin(1.7 * i);
}

TEST_CASE("guard: NaN and infinity are skipped, five in a row stop the run") {
  StepGuard guard({});
  CHECK(guard.judge(2, 1).empty());
  CHECK_FALSE(guard.judge(kNan, 1).empty());
  CHECK_FALSE(guard.judge(2, kInf).empty());
  CHECK(guard.judge(2, 1).empty());
  for (int i = 0; i < 4; ++i) CHECK_FALSE(guard.judge(2, kNan).empty());
  CHECK_FALSE(guard.must_stop());
  guard.judge(kInf, 1);
  CHECK(guard.must_stop());
}

TEST_CASE("guard: on_nan=stop stops at the first") {
  StepGuard guard({.stop_on_nan = true});
  guard.judge(2, 1);
  CHECK_FALSE(guard.must_stop());
  guard.judge(2, kNan);
  CHECK(guard.must_stop());
}

TEST_CASE("guard: an outlier is skipped, and only after enough history") {
  StepGuard guard({.spike_sigma = 6});
  CHECK(guard.judge(100, 1).empty());
  StepGuard young({.spike_sigma = 6});
  for (int i = 0; i < 200; ++i) CHECK(young.judge(noisy(i), 1).empty());
  CHECK_THAT(young.judge(4, 1), ContainsSubstring("sigma"));
  CHECK(young.judge(noisy(7), 1).empty());
  CHECK(young.judge(0.5, 1).empty());  // falling is never an outlier
}

TEST_CASE("guard: a loss that stays a little higher is accepted, one that explodes is not") {
  StepGuard guard({.spike_sigma = 6});
  for (int i = 0; i < 200; ++i) guard.judge(noisy(i), 1);
  int skipped = 0;
  for (int i = 0; i < 20; ++i) skipped += guard.judge(2.5, 1).empty() ? 0 : 1;
  CHECK(skipped < StepGuard::kMaxSkipped);
  CHECK_FALSE(guard.must_stop());
  for (int i = 0; i < StepGuard::kMaxSkipped; ++i) guard.judge(1e4, 1);
  CHECK(guard.must_stop());
}

TEST_CASE("guard: after a change of attention the history starts anew") {
  StepGuard guard({.spike_sigma = 6});
  for (int i = 0; i < 200; ++i) guard.judge(noisy(i), 1);
  guard.restart_history();
  CHECK(guard.judge(5, 1).empty());
}

TEST_CASE("guard: goes on from its saved values with the same decisions") {
  StepGuard a({.spike_sigma = 3});
  for (int i = 0; i < 120; ++i) a.judge(noisy(i), 1);
  a.judge(kNan, 1);
  std::map<std::string, double> values;
  a.save(values);
  StepGuard b({.spike_sigma = 3});
  b.restore(values);
  for (int i = 0; i < 300; ++i) {
    const double loss = noisy(i) + (i % 37 == 0 ? 1.0 : 0.0);
    CHECK(a.judge(loss, 1) == b.judge(loss, 1));
  }
  StepGuard c({});
  for (int i = 0; i < 4; ++i) c.judge(kNan, 1);
  c.save(values);
  StepGuard d({});
  d.restore(values);
  d.judge(kNan, 1);
  CHECK(d.must_stop());
  d.forgive();
  CHECK_FALSE(d.must_stop());
}

}  // namespace
}  // namespace pivot
