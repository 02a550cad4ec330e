#pragma once
/// Gradient of a bias on CUDA devices, in a fixed order.

#include <algorithm>
#include <cstdint>

#include "kernels/op.h"

namespace pivot {

// Rows are summed in parts, the parts afterwards. 64 parts of 256 columns each fill a device from a
// width of about 1000 on; more would only lengthen the second step.
inline constexpr int64_t kColumnSumRows = 256;  // of one part, at least
inline constexpr int64_t kColumnSumParts = 64;

constexpr int64_t column_sum_parts(int64_t rows) {
  return std::clamp((rows + kColumnSumRows - 1) / kColumnSumRows, int64_t{1}, kColumnSumParts);
}

/// What add_column_sums takes from ctx.scratch for rows of this shape.
inline size_t column_sums_scratch(const Shape& rows) {
  if (rows.count() == 0) return 0;
  return scratch_size(DType::F32, column_sum_parts(rows[0]) * rows[1]);
}

namespace cuda {

/// sums (O) F32 += sum over n of rows (N, O), F32 or BF16.
void add_column_sums(const Tensor& sums, const Tensor& rows, Context& ctx);

}  // namespace cuda
}  // namespace pivot
