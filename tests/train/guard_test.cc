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

// The decision as it is made beside the gradients (kernels/update_gate), then its account.
std::string judge(StepGuard& guard, double loss, double norm) {
  const bool applied = std::isfinite(loss) && std::isfinite(norm) && loss <= guard.limit();
  return guard.account(loss, norm, applied);
}

TEST_CASE("guard: NaN and infinity are skipped, five in a row stop the run") {
  StepGuard guard({});
  CHECK(judge(guard, 2, 1).empty());
  CHECK_FALSE(judge(guard, kNan, 1).empty());
  CHECK_FALSE(judge(guard, 2, kInf).empty());
  CHECK(judge(guard, 2, 1).empty());
  for (int i = 0; i < 4; ++i) CHECK_FALSE(judge(guard, 2, kNan).empty());
  CHECK_FALSE(guard.must_stop());
  judge(guard, kInf, 1);
  CHECK(guard.must_stop());
}

TEST_CASE("guard: on_nan=stop stops at the first") {
  StepGuard guard({.stop_on_nan = true});
  judge(guard, 2, 1);
  CHECK_FALSE(guard.must_stop());
  judge(guard, 2, kNan);
  CHECK(guard.must_stop());
}

TEST_CASE("guard: an outlier is skipped, and only after enough history") {
  StepGuard guard({.spike_sigma = 6});
  CHECK(judge(guard, 100, 1).empty());
  StepGuard young({.spike_sigma = 6});
  for (int i = 0; i < 200; ++i) CHECK(judge(young, noisy(i), 1).empty());
  CHECK_THAT(judge(young, 4, 1), ContainsSubstring("sigma"));
  CHECK(judge(young, noisy(7), 1).empty());
  CHECK(judge(young, 0.5, 1).empty());  // falling is never an outlier
}

TEST_CASE("guard: a loss that stays a little higher is accepted, one that explodes is not") {
  StepGuard guard({.spike_sigma = 6});
  for (int i = 0; i < 200; ++i) judge(guard, noisy(i), 1);
  int skipped = 0;
  for (int i = 0; i < 20; ++i) skipped += judge(guard, 2.5, 1).empty() ? 0 : 1;
  CHECK(skipped < StepGuard::kMaxSkipped);
  CHECK_FALSE(guard.must_stop());
  for (int i = 0; i < StepGuard::kMaxSkipped; ++i) judge(guard, 1e4, 1);
  CHECK(guard.must_stop());
}

TEST_CASE("guard: after a change of attention the history starts anew") {
  StepGuard guard({.spike_sigma = 6});
  for (int i = 0; i < 200; ++i) judge(guard, noisy(i), 1);
  guard.restart_history();
  CHECK(judge(guard, 5, 1).empty());
}

TEST_CASE("guard: goes on from its saved values with the same decisions") {
  StepGuard a({.spike_sigma = 3});
  for (int i = 0; i < 120; ++i) judge(a, noisy(i), 1);
  judge(a, kNan, 1);
  std::map<std::string, double> values;
  a.save(values);
  StepGuard b({.spike_sigma = 3});
  b.restore(values);
  for (int i = 0; i < 300; ++i) {
    const double loss = noisy(i) + (i % 37 == 0 ? 1.0 : 0.0);
    CHECK(judge(a, loss, 1) == judge(b, loss, 1));
  }
  StepGuard c({});
  for (int i = 0; i < 4; ++i) judge(c, kNan, 1);
  c.save(values);
  StepGuard d({});
  d.restore(values);
  judge(d, kNan, 1);
  CHECK(d.must_stop());
  d.forgive();
  CHECK_FALSE(d.must_stop());
}

}  // namespace
}  // namespace pivot
