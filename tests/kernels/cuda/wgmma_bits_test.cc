// GPU only: scores by wgmma and by the matrix library have the bits of mma.sync.

#include "kernels/matmul/matmul.h"
#include "tests/kernels/cuda/score_cases.h"

using namespace pivot;
using namespace pivot::test;

namespace {

std::vector<float> mma(DeviceScores& device) {
  return device.run([](const ScoreTensors& t, Context& ctx) {
    mma_scores(t, Roles::Straight, Steps::Ascending, ctx);
  });
}

}  // namespace

TEST_CASE("wgmma, operands in either role and place, has the bits of mma.sync") {
  if (cuda::device_info(0).major != 9) {
    WARN("skipped: " << cuda::device_info(0).name << " has no wgmma");
    return;
  }
  for (const int width : {64, 128}) {
    for (const ScoreCase& c : score_cases()) {
      for (const FirstOperand first : {FirstOperand::Shared, FirstOperand::Registers}) {
        for (const Roles roles : {Roles::Straight, Roles::Swapped}) {
          INFO(c.name << " D" << width << " first operand " << static_cast<int>(first) << " roles "
                      << static_cast<int>(roles));
          DeviceScores device(c, width);
          const std::vector<float> want = mma(device);
          const std::vector<float> got = device.run(
              [&](const ScoreTensors& t, Context& ctx) { wgmma_scores(t, first, roles, ctx); });
          CHECK(differing(want, got, Compare::Bits) == 0);
        }
      }
    }
  }
}

TEST_CASE("the matrix library has the bits of mma.sync") {
  for (const int width : {64, 128}) {
    for (const ScoreCase& c : score_cases()) {
      INFO(c.name << " D" << width);
      DeviceScores device(c, width);
      const std::vector<float> want = mma(device);
      const std::vector<float> got = device.run([](const ScoreTensors& t, Context& ctx) {
        matmul_forward({.y = t.scores, .x = t.q, .w = t.k, .bias = {}, .residual = {}}, ctx);
      });
      CHECK(differing(want, got, Compare::Bits) == 0);
    }
  }
}
