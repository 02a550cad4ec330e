#pragma once
/// How the CUDA twin of sum_squares divides its work.

#include <algorithm>
#include <cstdint>

namespace pivot {

/// Blocks, each with a partial sum, for `count` elements: a function of the count alone, so that
/// the bits do not depend on the device. 1024 blocks of 256 threads fill the 132 multiprocessors of
/// an H100 (7.8 each of 8); 4096 elements are four packs a thread, enough to have loads in flight.
constexpr int sum_blocks(int64_t count) {
  return static_cast<int>(std::clamp<int64_t>((count + 4095) / 4096, 1, 1024));
}

}  // namespace pivot
