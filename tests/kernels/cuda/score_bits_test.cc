// The facts that exact Top-k rests on: every instruction that computes scores has the same bits,
// and kernels/attention/score_bits.h has them in integers (docs/semantics.md).

#include "kernels/attention/score_bits.h"

#include <cmath>
#include <functional>

#include "src/base/philox.h"
#include "tests/kernels/cuda/score_cases.h"
#include "tests/kernels/cuda/score_kernels.h"
#include "tests/support/cuda_context.h"

using namespace pivot;
using namespace pivot::test;

namespace {

struct Terms {
  BFloat16 a[16] = {};
  BFloat16 b[16] = {};

  /// The products are 1 * values[i].
  explicit Terms(const std::vector<float>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      a[i] = to_bfloat16(1);
      b[i] = to_bfloat16(values[i]);
      REQUIRE(to_float(b[i]) == values[i]);
    }
  }
  float step(float c = 0) const { return mma_step(a, b, c); }
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float chain(const BFloat16* a, const BFloat16* b, int width) {
  float s = 0;
  for (int d = 0; d < width; ++d) s = std::fma(to_float(a[d]), to_float(b[d]), s);
  return s;
}

float descending(const BFloat16* a, const BFloat16* b, int width) {
  float s = 0;
  for (int d = width - 16; d >= 0; d -= 16) s = mma_step(a + d, b + d, s);
  return s;
}

}  // namespace

TEST_CASE("a step of the tensor cores, by hand") {
  CHECK(Terms({1, 2, 3, -4, 5}).step(10) == 17);
  // 2^-25 of the largest term is kept, less is cut before the sum; the sum is cut to 24 bits.
  CHECK(Terms({1, 0x1p-25F}).step() == 1);
  CHECK(Terms({1, 0x1p-24F}).step() == 1);
  CHECK(Terms({1, 0x1p-25F, 0x1p-25F, 0x1p-25F, 0x1p-25F}).step() == 1 + 0x1p-23F);
  CHECK(Terms(std::vector<float>(16, 0x1p-26F)).step(1) == 1);
  CHECK(Terms({-1, -0x1p-24F}).step() == -1);
  CHECK(Terms({0x1p30F, 1, -0x1p30F}).step() == 0);
  CHECK(Terms({0x1p25F, 1, -0x1p25F}).step() == 1);
  CHECK(Terms({1}).step(0x1p24F) == 0x1p24F);
  CHECK(Terms({1, 1}).step(0x1p24F) == 0x1p24F + 2);
  CHECK(Terms({-1}).step(0x1p25F) == 0x1p25F - 2);  // an ulp below 2^25 is 2
  // Zero is +0.
  CHECK(std::bit_cast<uint32_t>(Terms({1, -1}).step()) == 0);
  CHECK(std::bit_cast<uint32_t>(Terms({-0.0F, -0.0F}).step(-0.0F)) == 0);
  // The accumulator's denormals count.
  CHECK(Terms({0x1p-133F}).step(0x1p-149F) == 0x1p-133F + 0x1p-149F);
  CHECK(Terms({0x1.FEp127F, 0x1.FEp127F}).step() == kInfinity);
  CHECK(Terms({-0x1.FEp127F, -0x1.FEp127F}).step() == -kInfinity);
  CHECK(Terms({kInfinity, -3}).step() == kInfinity);
  CHECK(std::isnan(Terms({kInfinity, -kInfinity}).step()));
  CHECK(std::isnan(Terms({1}).step(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("score bits depend on the order of the steps, and on nothing else") {
  for (const int width : {64, 128}) {
    for (const ScoreCase& c : score_cases()) {
      INFO(c.name << " D" << width);
      const std::vector<BFloat16> q = score_rows(c, ScoreRole::Query, 64, width);
      const std::vector<BFloat16> k = score_rows(c, ScoreRole::Key, 64, width);
      int roles = 0, places = 0, bounds = 0;
      for (int i = 0; i < 64 * 64; ++i) {
        const BFloat16* a = &q[static_cast<size_t>(i / 64 * width)];
        const BFloat16* b = &k[static_cast<size_t>(i % 64 * width)];
        const float s = mma_dot(a, b, width);
        roles += static_cast<int>(!same_score(s, mma_dot(b, a, width)));
        // The products of each step the other way round.
        std::vector<BFloat16> ra(a, a + width), rb(b, b + width);
        for (int d = 0; d < width; d += 16) {
          std::reverse(ra.begin() + d, ra.begin() + d + 16);
          std::reverse(rb.begin() + d, rb.begin() + d + 16);
        }
        places += static_cast<int>(!same_score(s, mma_dot(ra.data(), rb.data(), width)));
        double exact = 0, magnitude = 0;
        for (int d = 0; d < width; ++d) {
          const double product = double{to_float(a[d])} * to_float(b[d]);
          exact += product;
          magnitude += std::abs(product);
        }
        // At most 10 units of the magnitudes a step; denormal sums lose up to one of 2^-149 each.
        const double bound = 10.0 / 16 * width * 0x1p-24 * magnitude + width / 16 * 0x1p-148;
        if (magnitude < 0x1p127) bounds += static_cast<int>(std::abs(s - exact) > bound);
      }
      CHECK(roles == 0);
      CHECK(places == 0);
      CHECK(bounds == 0);
    }
  }
}

TEST_CASE("other orders and other arithmetic have other bits") {
  // Measured with 10^6 pairs, D = 128: 32 % are equal in descending order, 31 % with a chain of
  // fused multiply-adds; of outlier channels 15 % and 12 %.
  const int width = 128;
  for (const ScoreCase& c : score_cases()) {
    const bool normal = std::string(c.name) == "normal";
    if (!normal && std::string(c.name) != "outlier channels") continue;
    INFO(c.name);
    const std::vector<BFloat16> q = score_rows(c, ScoreRole::Query, 64, width);
    const std::vector<BFloat16> k = score_rows(c, ScoreRole::Key, 64, width);
    double down = 0, fused = 0;
    for (int i = 0; i < 64 * 64; ++i) {
      const BFloat16* a = &q[static_cast<size_t>(i / 64 * width)];
      const BFloat16* b = &k[static_cast<size_t>(i % 64 * width)];
      const float s = mma_dot(a, b, width);
      down += static_cast<double>(s == descending(a, b, width)) / (64 * 64);
      fused += static_cast<double>(s == chain(a, b, width)) / (64 * 64);
    }
    CHECK(down == Approx(normal ? 0.32 : 0.15).margin(0.06));
    CHECK(fused == Approx(normal ? 0.31 : 0.12).margin(0.06));
  }
}

TEST_CASE("mma.sync in either role and integers on the device have the same bits") {
  if (cuda::device_info(0).major != 9) {
    WARN("skipped: the integers are those of sm_90, not of " << cuda::device_info(0).name);
    return;
  }
  for (const int width : {64, 128}) {
    for (const ScoreCase& c : score_cases()) {
      INFO(c.name << " D" << width);
      DeviceScores device(c, width);
      const auto mma = [&](Roles roles, Steps steps) {
        return device.run(
            [&](const ScoreTensors& t, Context& ctx) { mma_scores(t, roles, steps, ctx); });
      };
      const std::vector<float> want = mma(Roles::Straight, Steps::Ascending);
      CHECK(differing(want, mma(Roles::Swapped, Steps::Ascending), Compare::Bits) == 0);
      CHECK(differing(want, device.run(&integer_scores), c.compare) == 0);
      CHECK(differing(want, device.on_host(), c.compare) == 0);
      if (std::string(c.name) != "normal") continue;
      // Controls: the comparison sees differences.
      const auto count = static_cast<double>(want.size());
      const double down =
          1 - differing(want, mma(Roles::Straight, Steps::Descending), Compare::Bits) / count;
      const double fused = 1 - differing(want, device.run(&chain_scores), Compare::Bits) / count;
      CHECK(down < 0.7);
      CHECK(fused < 0.7);
    }
  }
}
