#pragma once
/// One query tile of the forward pass on the CPU.

#include "kernels/attention/attention.h"
#include "kernels/attention/geometry.h"
#include "kernels/attention/row_selector.h"
#include "src/core/arena.h"

namespace pivot::attention {

/// One document of one KV head, its keys and values packed.
struct ForwardJob {
  const AttentionForward* args;
  Geometry geometry;
  Document document;
  int kv_head;
  const float* key_tiles;       // (tiles, D, kTileKeys)
  const float* values;          // (tiles * kTileKeys, D), rows from `length` on unused
  const uint8_t* value_finite;  // (tiles): 1 if the tile's values are all finite
};

/// Temporaries of a worker.
struct ForwardSpace {
  int64_t strip;                   // keys whose scores are formed at once
  int64_t stride;                  // of a row of scores; not a power of two: L1 sets
  float* queries;                  // (rows, D)
  float* scores;                   // (rows, stride)
  float* ranks;                    // (rows, stride) where ranking scores differ from scores
  float* sums;                     // (rows, D): running sums of weighted values
  float* max;                      // (rows): running maximum of the visible scores
  float* sum;                      // (rows): sum of exp(scale * (score - max))
  float* moment;                   // (rows): sum of e * x, see exp_moment
  SelectorRoom rooms;              // of all rows: row r's list at r * rooms.room
  std::vector<RowSelector> lists;  // (rows)
  int32_t* kept;                   // (k)
  float* kept_scores;              // (group, kept_stride)
  int64_t kept_stride;             // k rounded up to kTileKeys
  float* gathered_tile;            // (D, kTileKeys)
};

/// Takes the space for documents of at most max_document tokens; on the plan device it only counts.
ForwardSpace take_forward_space(Arena& arena, const AttentionForward& args);

/// True if every row below `end` keeps all its keys: k grows no faster than the visible keys.
inline bool keeps_all(const AttentionPolicy& policy, int64_t end) {
  return policy.dense() || budget_of(policy)(end) >= end;
}

/// Both write out, lse, tau, jcut and what else is present for the tile's rows, and return how many
/// of the rows are NaN.
int64_t forward_dense_tile(const ForwardJob& job, const QueryTile& tile, ForwardSpace& space);
int64_t forward_topk_tile(const ForwardJob& job, const QueryTile& tile, ForwardSpace& space);

/// What a row leaves behind, from its sums relative to the maximum kept score.
struct RowResult {
  float max;
  float sum;          // of exp(scale * (score - max)) over the kept keys
  float moment;       // exp_moment over the kept keys; read where entropy is asked for
  float lse_visible;  // read where asked for
  float tau;
  int32_t jcut;
  const float* values;  // (D): sum of the weighted values
};
/// Writes the row; a NaN score, or kept scores without a finite maximum, make out and lse NaN.
/// Returns true for such a row.
bool store_row(const ForwardJob& job, int64_t token, int head_of_group, const RowResult& row);
/// Writes a row with a NaN among its visible scores.
void store_nan_row(const ForwardJob& job, int64_t token, int head_of_group);

/// max, sum and moment (unless null) of the row take in scores[0, count), padded in place with -inf
/// to a multiple of kRowStep. Returns the factor by which sums relative to the old maximum shrink.
/// The exponentials go to `weights`, or nowhere if null.
float take_in(float* scores, int64_t count, float scale, float* max, float* sum, float* moment,
              float* weights);

}  // namespace pivot::attention
