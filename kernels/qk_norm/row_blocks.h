#pragma once
/// How the CUDA twin of qk_norm_backward divides its rows.

#include <algorithm>
#include <cstdint>

namespace pivot {

/// Blocks, each with partial sums of both weight gradients, for `rows` rows: a function of the
/// arguments alone, so that the bits do not depend on the device. Four, of 64 registers a thread,
/// are on each of an H100's 132 multiprocessors at once.
constexpr int qk_norm_row_blocks(int64_t rows) {
  return static_cast<int>(std::min<int64_t>(rows, 528));
}

}  // namespace pivot
