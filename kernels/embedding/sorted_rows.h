#pragma once
/// Sizes that the CUDA twin of embedding_backward and the declaration of its scratch share.

#include <cstdint>

namespace pivot {

inline constexpr int64_t kSortTile = 2048;  // keys that one block sorts in shared memory, 16 KiB
// Rows that are added one after the other: 16 times four loads in flight, some 15 us, are the
// longest that anything waits for, and sums of chunks are 6 % of the traffic of long runs.
inline constexpr int64_t kChunkRows = 64;

/// Sort keys of `tokens` tokens: whole tiles.
constexpr int64_t sorted_keys(int64_t tokens) {
  return (tokens + kSortTile - 1) / kSortTile * kSortTile;
}

/// Room for the sums of chunks of runs longer than kChunkRows. Full chunks of a run begin at least
/// kChunkRows apart, and so do the shorter last chunks of two runs: the chunk that begins at sorted
/// position i has slot i / kChunkRows of its kind.
constexpr int64_t chunk_slots(int64_t tokens) {
  return (tokens + kChunkRows - 1) / kChunkRows;
}

}  // namespace pivot
