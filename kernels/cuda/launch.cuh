#pragma once
/// Launching kernels and their dynamic shared memory. The tests have a second implementation of
/// this header and its neighbours that runs kernels on the CPU (tests/simt), so kernels use these
/// functions instead of <<<>>>, `extern __shared__` and inline assembly.

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"

namespace pivot::cuda {

/// Launches kernel(args...) on `stream`. Above 48 KiB of `shared_bytes` the kernel has to be
/// allowed it first (allow_shared_memory).
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Arguments... arguments) {
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
}

/// The block's dynamic shared memory, 1024-byte aligned.
__device__ __forceinline__ uint8_t* dynamic_shared() {
  extern __shared__ __align__(1024) uint8_t memory[];
  return memory;
}

}  // namespace pivot::cuda
