#pragma once
/// Keys and values of KV heads, packed for the forward pass: tiles of keys, contiguous rows of
/// values.

#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/geometry.h"
#include "src/core/arena.h"

namespace pivot::attention {

/// Documents up to this length are packed by whoever works on them, longer ones for all workers
/// before the work begins. Sharing short ones would cost a tile of padding each; 512 keys are 1/16
/// of it.
inline constexpr int64_t kShortDocument = 512;

/// One document's keys and values of one KV head.
struct PackedHead {
  float* key_tiles;       // (tiles, D, kTileKeys)
  float* values;          // (tiles * kTileKeys, D)
  uint8_t* value_finite;  // (tiles)
};

/// Keys [first_tile * kTileKeys, ...) of `tiles` tiles, those the document has.
void pack_head(const AttentionForward& a, const Document& document, int kv_head, int64_t first_tile,
               int64_t tiles, const PackedHead& to);

/// Room for the long documents of several KV heads.
class PackedHeads {
 public:
  /// Takes as many heads as fit a bounded amount of memory, at least one.
  PackedHeads(Arena& arena, const AttentionForward& a);

  int heads_at_once() const { return heads_; }
  /// `first_key` of the document: sum of the lengths of the long ones before, each rounded up to
  /// tiles.
  PackedHead at(int slot, int64_t first_key) const;

 private:
  int heads_ = 1;
  int64_t keys_ = 0;  // room a head
  int64_t width_ = 0;
  PackedHead room_ = {};
};

/// Room for one short document.
PackedHead take_short_head(Arena& arena, const AttentionForward& a);

}  // namespace pivot::attention
