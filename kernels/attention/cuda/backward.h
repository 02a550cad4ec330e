#pragma once
/// The tiled backward pass: three kernels, no atomics, every element of dqkv written once.
///
///   delta.cu             what a row's pairs need to know, delta = rowsum(dout * out) among it
///   backward_keys.cu     a block per 64 keys and KV head: dK, dV over the group's query heads
///   backward_queries.cu  a block per 64 rows and head: dQ
/// S and dP are computed in both (7 products of tiles instead of 5): the price of dQ without
/// atomics, whose order would change the bits from run to run. With sets shared in a group
/// (group=max, sum) the ranking scores of all its heads are computed again too: one product more
/// per head in the keys kernel, one per head of the group in the queries kernel.
///
/// Tiles are cut from the beginning of each document, so its gradients have the same bits alone and
/// packed.

#include "kernels/attention/attention.h"

namespace pivot::attention {

inline constexpr int kBackwardRows = 64;  // of a tile of queries and of a tile of keys

/// Of one row of one head.
struct alignas(16) RowStats {
  float tau;
  int32_t jcut;
  float lse;
  float delta;  // sum over D of dout * out; not finite if dout is not
};

/// Fills stats (H, T) and keys_finite (G, T).
void summarize_rows(const AttentionBackward& a, RowStats* stats, uint8_t* keys_finite,
                    Context& ctx);

/// What both kernels read (tile_backward.cuh).
struct BackwardJob;
/// Sets: of each head, or one for all heads of a group.
enum class Sets { OfHead, Shared };
void backward_keys(const BackwardJob& job, int64_t width, Sets sets, Context& ctx);
void backward_queries(const BackwardJob& job, int64_t width, Sets sets, Context& ctx);

}  // namespace pivot::attention
