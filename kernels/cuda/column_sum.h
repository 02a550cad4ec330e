#pragma once
/// Sums of the partial results of many blocks, in a fixed order.

#include <cstdint>

#include <cuda_runtime_api.h>

namespace pivot::cuda {

/// sum[c] += partial[0][c] + partial[1][c] + ... for c < width; rows are `stride` elements apart.
/// The order depends on `rows` alone.
void add_column_sums(float* sum, const float* partial, int rows, int64_t stride, int64_t width,
                     cudaStream_t stream);

}  // namespace pivot::cuda
