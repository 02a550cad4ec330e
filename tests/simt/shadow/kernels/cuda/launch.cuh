#pragma once
/// Emulated: see the header of the same name in kernels/cuda.

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"
#include "tests/simt/runtime.h"

namespace pivot::cuda {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
            Arguments... arguments) {
  simt::launch(reinterpret_cast<const void*>(kernel),
               {{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes, [=] {
                  kernel(static_cast<Parameters>(arguments)...);
                }});
}

inline uint8_t* dynamic_shared() {
  return simt::dynamic_shared();
}

}  // namespace pivot::cuda
