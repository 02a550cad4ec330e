#pragma once
/// Return codes of CUDA calls become errors. For sources that see CUDA's headers only.

#include <string>

#include <cuda_runtime_api.h>

namespace pivot::cuda {

/// Throws Error: "CUDA could not {what}: {reason}".
[[noreturn]] void fail(cudaError_t error, const char* what);

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) [[unlikely]] {
    fail(error, what);
  }
}

}  // namespace pivot::cuda
