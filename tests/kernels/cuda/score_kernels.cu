#include "kernels/attention/score_bits.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "tests/kernels/cuda/score_kernels.h"
#include "tests/kernels/cuda/score_problem.h"

namespace pivot::test {
namespace {

// A warp 16 rows of a and 8 of b.
__global__ void mma_kernel(ScoreProblem p, Steps steps) {
  const int lane = static_cast<int>(threadIdx.x);
  const int g = lane / 4;
  const int t = lane % 4;
  const BFloat16* a_row = p.a + (blockIdx.y * int64_t{16} + g) * p.width;
  const BFloat16* b_row = p.b + (blockIdx.x * int64_t{8} + g) * p.width;
  const auto pair = [](const BFloat16* at) { return *reinterpret_cast<const uint32_t*>(at); };
  float c[4] = {0, 0, 0, 0};
  for (int d = 0; d < p.width; d += 16) {
    const int first = (steps == Steps::Ascending ? d : p.width - 16 - d) + 2 * t;
    const uint32_t a[4] = {pair(a_row + first), pair(a_row + 8 * p.width + first),
                           pair(a_row + first + 8), pair(a_row + 8 * p.width + first + 8)};
    cuda::mma_16x8x16(c, a, pair(b_row + first), pair(b_row + first + 8));
  }
  for (int i = 0; i < 4; ++i) {
    p.store(blockIdx.y * 16 + g + 8 * (i / 2), blockIdx.x * 8 + 2 * t + i % 2, c[i]);
  }
}

enum class Scalar { Integers, Chain };

__global__ void scalar_kernel(ScoreProblem p, Scalar how) {
  const int64_t column = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  const BFloat16* a = p.a + blockIdx.y * int64_t{p.width};
  const BFloat16* b = p.b + column * p.width;
  float s = 0;
  if (how == Scalar::Integers) {
    s = mma_dot(a, b, p.width);
  } else {
    for (int d = 0; d < p.width; ++d) s = fmaf(to_float(a[d]), to_float(b[d]), s);
  }
  p.store(blockIdx.y, column, s);
}

void launch_scalar(const ScoreTensors& t, Scalar how, Context& ctx) {
  const auto rows = static_cast<unsigned>(t.q.dim(0));
  const auto columns = static_cast<unsigned>(t.k.dim(0));
  cuda::launch(&scalar_kernel, dim3(columns / 64, rows), dim3(64), 0, cuda::stream(ctx),
               problem_of(t, Roles::Straight), how);
}

}  // namespace

void mma_scores(const ScoreTensors& t, Roles roles, Steps steps, Context& ctx) {
  const ScoreProblem p = problem_of(t, roles);
  cuda::launch(&mma_kernel, dim3(p.b_rows / 8, p.a_rows / 16), dim3(32), 0, cuda::stream(ctx), p,
               steps);
}

void integer_scores(const ScoreTensors& t, Context& ctx) {
  launch_scalar(t, Scalar::Integers, ctx);
}

void chain_scores(const ScoreTensors& t, Context& ctx) {
  launch_scalar(t, Scalar::Chain, ctx);
}

}  // namespace pivot::test
