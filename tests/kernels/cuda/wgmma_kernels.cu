// Compiled for sm_90a alone: no other architecture has these instructions.

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "tests/kernels/cuda/score_problem.h"

namespace pivot::test {
namespace {

constexpr int kTile = 64;           // rows of either operand
constexpr int kArea = kTile * 128;  // bytes of 64 rows of 64 channels
constexpr int kThreads = 128;

// Copies 64 rows to areas of 64 channels in the layout that descriptors describe.
__device__ void load_operand(const BFloat16* rows, int width, uint8_t* to) {
  const int pieces = width / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kTile * pieces; i += kThreads) {
    const int row = i / pieces;
    const int piece = i % pieces;
    *reinterpret_cast<uint4*>(to + piece / 8 * kArea + cuda::wgmma_operand_offset(row, piece % 8)) =
        *reinterpret_cast<const uint4*>(rows + int64_t{row} * width + piece * 8);
  }
}

template <FirstOperand First>
__global__ void __launch_bounds__(kThreads) wgmma_kernel(ScoreProblem p) {
  uint8_t* a_area = cuda::dynamic_shared();
  uint8_t* b_area = a_area + kTile * p.width * 2;
  const BFloat16* a_rows = p.a + blockIdx.y * int64_t{kTile} * p.width;
  load_operand(a_rows, p.width, a_area);
  load_operand(p.b + blockIdx.x * int64_t{kTile} * p.width, p.width, b_area);
  cuda::wgmma_publish_shared();
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
  const auto pair = [&](int r, int d) {
    return *reinterpret_cast<const uint32_t*>(a_rows + int64_t{r} * p.width + d + 2 * (lane % 4));
  };
  float c[32];
  for (float& x : c) x = 123;  // the first step does not add
  for (int d = 0; d < p.width; d += 16) {
    const uint32_t area = static_cast<uint32_t>(d / 64 * kArea);
    const uint64_t step = static_cast<uint64_t>(d % 64 / 16 * 2);
    const uint64_t b = cuda::wgmma_descriptor(cuda::shared_address(b_area) + area) + step;
    const uint32_t a[4] = {pair(row, d), pair(row + 8, d), pair(row, d + 8), pair(row + 8, d + 8)};
    cuda::wgmma_hold(c);
    cuda::wgmma_fence();
    if constexpr (First == FirstOperand::Registers) {
      cuda::wgmma_64x64x16(c, a, b, d > 0);
    } else {
      cuda::wgmma_64x64x16(c, cuda::wgmma_descriptor(cuda::shared_address(a_area) + area) + step, b,
                           d > 0);
    }
    cuda::wgmma_commit();
    cuda::wgmma_wait<0>();
    cuda::wgmma_hold(c);
  }
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    p.store(blockIdx.y * kTile + row + 8 * (i / 2 % 2),
            blockIdx.x * kTile + i / 4 * 8 + 2 * (lane % 4) + i % 2, c[i]);
  }
}

}  // namespace

void wgmma_scores(const ScoreTensors& t, FirstOperand first, Roles roles, Context& ctx) {
  const ScoreProblem p = problem_of(t, roles);
  const size_t shared = size_t{2} * kTile * p.width * sizeof(BFloat16);
  const auto kernel = first == FirstOperand::Registers ? &wgmma_kernel<FirstOperand::Registers>
                                                       : &wgmma_kernel<FirstOperand::Shared>;
  cuda::launch(kernel, dim3(p.b_rows / kTile, p.a_rows / kTile), dim3(kThreads), shared,
               cuda::stream(ctx), p);
}

}  // namespace pivot::test
