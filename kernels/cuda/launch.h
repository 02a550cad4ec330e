#pragma once
/// What every CUDA twin needs to launch its kernels. Host side.

#include <algorithm>
#include <cstdint>

#include <cuda_runtime_api.h>

#include "src/base/check.h"
#include "src/core/context.h"
#include "src/core/cuda.h"
#include "src/core/cuda_check.h"

namespace pivot::cuda {

inline cudaStream_t stream(const Context& ctx) {
  return static_cast<cudaStream_t>(stream(ctx.device.index));
}

constexpr int64_t ceil_div(int64_t n, int64_t step) {
  return (n + step - 1) / step;
}

/// `blocks` as a grid's x dimension; a grid of no blocks must not be launched.
inline unsigned grid_size(int64_t blocks) {
  PIVOT_CHECK(blocks > 0 && blocks <= 0x7FFFFFFF, "a grid of {} blocks", blocks);
  return static_cast<unsigned>(blocks);
}

/// Numbers of the device that launches depend on (speed only, never results).
struct Limits {
  explicit Limits(int device);
  int multiprocessors;
  int shared_memory;  // bytes a block may ask for
};
inline const Limits& limits(const Context& ctx) {
  return state<Limits>(ctx.device.index);
}
inline Limits::Limits(int device) {
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "count multiprocessors");
  check(cudaDeviceGetAttribute(&shared_memory, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "ask for shared memory");
}

/// Blocks of a grid-stride kernel: enough to fill the device `waves` times.
inline unsigned grid_for(const Context& ctx, int64_t items, int64_t items_per_block,
                         int blocks_per_multiprocessor = 8) {
  const int64_t most = int64_t{limits(ctx).multiprocessors} * blocks_per_multiprocessor;
  return grid_size(std::clamp<int64_t>(ceil_div(items, items_per_block), 1, most));
}

/// Lets `kernel` have `bytes` of dynamic shared memory.
template <class Kernel>
void allow_shared_memory(Kernel* kernel, size_t bytes) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "reserve shared memory");
}

}  // namespace pivot::cuda
