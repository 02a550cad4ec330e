#pragma once
/// The backward pass on the CPU goes by blocks of keys: a block owns the gradients of its keys and
/// values, sweeps the query tiles that see it, and adds its share of dQ to each in turn. The blocks
/// of a document and KV head follow one another through the tiles like a wave, so that every sum is
/// formed in the same order whatever the number of threads.

#include <atomic>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/geometry.h"
#include "src/core/arena.h"

namespace pivot::attention {

/// Keys of a block: as many as keep its packed keys, values and gradients in the L2 cache (1 MiB),
/// a multiple of 64 (for_flags).
constexpr int64_t block_keys(int64_t width) {
  const int64_t keys = 32768 / width / 64 * 64;
  return keys < 64 ? 64 : (keys > 512 ? 512 : keys);
}

/// How far a block has come: the number of query tiles of the document whose dQ holds its share.
/// Blocks are handed out in order, so the one before is always at work or done.
class Progress {
 public:
  void wait_for(int64_t tiles) const;
  void set(int64_t tiles) { done_.store(tiles, std::memory_order_release); }
  /// Nobody waits for a block that has ended, also by an exception.
  void finish() { set(INT64_MAX); }

 private:
  std::atomic<int64_t> done_{0};
};

/// The query side of a KV head, packed: row r of the tile that begins at token t of the tensor is
/// row t * group + r. Every block sweeps all of it.
struct PackedQueries {
  float* queries;   // (T * group, D)
  float* douts;     // (T * group, D)
  float* dqueries;  // (T * group, D): dQ so far
  float* delta;     // (T * group): dout . out
  uint8_t* finite;  // (T): at a tile's first token, 1 if its queries and douts are all finite
};

/// Fills queries, douts, delta and finite of a tile.
void pack_queries(const AttentionBackward& args, const Document& document, int kv_head,
                  const QueryTile& tile, const PackedQueries& to);

struct BackwardJob {
  const AttentionBackward* args;
  Geometry geometry;
  PackedQueries packed;
  Document document;
  int kv_head;
  int64_t block;           // keys [block * block_keys, ...) of the document
  const Progress* before;  // of the block before; null for the first
  Progress* progress;
};

/// Temporaries of a worker.
struct BackwardSpace {
  int64_t block;   // block_keys(D)
  int64_t stride;  // of a row of pairs; not a power of two: L1 sets

  float* key_tiles;    // (block / kTileKeys, D, kTileKeys)
  float* value_tiles;  // the same of values
  float* keys;         // (block, D)
  float* values;       // (block, D)
  float* dkeys;        // (block, D)
  float* dvalues;      // (block, D)
  float* dqueries;     // (rows, D)
  float* scores;       // (rows, stride): then probabilities
  float* dscores;      // (rows, stride)
  float* ranks;        // (rows, stride)
  uint8_t* flags;      // (rows, stride): 1 for kept pairs
  // Of a row's kept keys:
  int32_t* kept;        // (block)
  float* kept_scores;   // (block)
  float* kept_dscores;  // (block)
};
BackwardSpace take_backward_space(Arena& arena, const AttentionBackward& args);

/// Writes dK and dV of the block, adds to (the first block: writes) dQ of the tiles that see it,
/// and writes the whole dQ of those whose last block it is.
void backward_block(const BackwardJob& job, BackwardSpace& space);

}  // namespace pivot::attention
