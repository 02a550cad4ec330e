#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "tests/simt/faults.h"

namespace pivot::simt_fault {
namespace {

constexpr int kShared = 512;  // bytes

// More than a thread needs of each: a mistake must not depend on the compiler's mercy.
__global__ void mistake_kernel(Mistake mistake, float* memory) {
  const unsigned t = threadIdx.x;
  const uint32_t all = 0xFFFFFFFFU;
  auto* shared = reinterpret_cast<float*>(cuda::dynamic_shared());
  const uint32_t address = cuda::shared_address(shared);
  uint32_t r[4] = {};
  float c[4] = {};
  switch (mistake) {
    case Mistake::WarpWaitsForOthersAtBarrier:
      if (t == 3) {
        __syncthreads();
      } else {
        __syncwarp();
      }
      break;
    case Mistake::TwoBarriers:
      if (t < 32) {
        __syncthreads();
      } else {
        __syncthreads();
      }
      break;
    case Mistake::LaneOutsideItsMask:
      __syncwarp(0xFFFFU);
      break;
    case Mistake::TwoInstructions:
      if (t % 32 < 16) {
        __syncwarp(all);
      } else {
        __any_sync(all, true);
      }
      break;
    case Mistake::ShuffleFromOutsideTheMask:
      if (t % 32 < 16) memory[t] = __shfl_down_sync(0xFFFFU, memory[t], 8);
      break;
    case Mistake::ShuffleFromAnEndedLane:
      if (t % 32 == 31) return;
      memory[t] = __shfl_sync(all, memory[t], 31);
      break;
    case Mistake::MmaWithoutAllLanes:
      if (t % 32 == 31) return;
      cuda::mma_16x8x16(c, r, 0, 0);
      break;
    case Mistake::MatrixRowMisaligned:
      cuda::load_matrix_x4(r, address + 8);
      break;
    case Mistake::MatrixRowOutsideSharedMemory:
      cuda::load_matrix_x4(r, address + 16 * t);  // 64 threads, 32 rows
      break;
    case Mistake::WriteBehindSharedMemory:
      if (t == 63) shared[kShared / 4] = 0;
      break;
    case Mistake::WriteBeforeSharedMemory:
      if (t == 63) shared[-1] = 0;
      break;
    case Mistake::CopyNotAwaited:
      cuda::copy_async_16(address, memory, true);
      cuda::copy_async_commit();
      cuda::copy_async_wait<1>();
      break;
    case Mistake::CopyMisaligned:
      cuda::copy_async_16(address, memory + 1, true);
      break;
    case Mistake::VectorMisaligned:
      *reinterpret_cast<float4*>(memory + t) = make_float4(0, 0, 0, 0);
      break;
    case Mistake::ArrayIndex:
      c[t] = memory[t];
      memory[t] = c[t / 2];
      break;
    case Mistake::Shift:
      memory[t] = static_cast<float>(1U << t);
      break;
    case Mistake::Overflow:
      memory[t] = static_cast<float>(0x7FFFFFFF - 5 + static_cast<int>(t));
      break;
    case Mistake::Trap:
      if (t == 5) __trap();
      break;
    default:
      break;
  }
}

__global__ void exchange_kernel(float* out, const float* in) {
  __shared__ float space[256];
  space[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = space[threadIdx.x ^ 1];
}

__global__ void read_too_early_kernel(float* out, const float* in) {
  __shared__ float fixed[4];
  auto* shared = reinterpret_cast<float*>(cuda::dynamic_shared());
  out[0] = shared[1];
  out[1] = fixed[1];
  for (int i = 0; i < 4; ++i) shared[i] = fixed[i] = 1;
  cuda::copy_async_16(cuda::shared_address(shared), in, true);
  cuda::copy_async_commit();
  out[2] = shared[1];
  cuda::copy_async_wait<0>();
  out[3] = shared[1];
}

__global__ void order_of_blocks_kernel(int32_t* out, int32_t* ticket) {
  if (threadIdx.x == 0) out[atomicAdd(ticket, 1)] = static_cast<int32_t>(blockIdx.x);
}

}  // namespace

void make(Mistake mistake, const Tensor& memory, Context& ctx) {
  const unsigned blocks = mistake == Mistake::NoBlocks ? 0 : 1;
  const unsigned threads = mistake == Mistake::TooManyThreads ? 1025 : 64;
  const size_t shared = mistake == Mistake::SharedMemoryNotAllowed ? 48 * 1024 + 1 : kShared;
  cuda::launch(&mistake_kernel, dim3(blocks), dim3(threads), shared, cuda::stream(ctx), mistake,
               memory.as<float>());
}

void exchange_without_barrier(const Tensor& out, const Tensor& in, Context& ctx) {
  cuda::launch(&exchange_kernel, dim3(1), dim3(256), 0, cuda::stream(ctx), out.as<float>(),
               in.as<float>());
}

void read_too_early(const Tensor& out, const Tensor& in, Context& ctx) {
  cuda::launch(&read_too_early_kernel, dim3(1), dim3(1), 16, cuda::stream(ctx), out.as<float>(),
               in.as<float>());
}

void order_of_blocks(const Tensor& out, const Tensor& ticket, Context& ctx) {
  cuda::launch(&order_of_blocks_kernel, dim3(64), dim3(32), 0, cuda::stream(ctx), out.as<int32_t>(),
               ticket.as<int32_t>());
}

}  // namespace pivot::simt_fault
