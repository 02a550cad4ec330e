#include <cmath>

#include "kernels/attention/cuda/tile_backward.cuh"
#include "kernels/attention/order.h"
#include "kernels/cuda/launch.h"

namespace pivot::attention {
namespace {

// Shared memory: the block's keys and values, then two stages of a query tile, its dout and stats.
template <int D>
struct KeysMemory {
  static constexpr int kTile = tile_bytes<D>(kBackwardRows);
  static constexpr int kStats = kBackwardRows * static_cast<int>(sizeof(RowStats));
  static constexpr int kStage = 2 * kTile + kStats;
  static constexpr int kBytes = 2 * kTile + 2 * kStage;
};

// A query tile of one head in shared memory.
struct QueryTile {
  uint32_t queries;
  uint32_t douts;
  const uint8_t* memory;  // of the queries
  const RowStats* stats;  // of its rows; zeros beyond the document
  int32_t first;
  int head;
};

// The query tiles that see a tile of keys: from the document's last down to the diagonal, so that
// blocks of different keys read the same rows at the same time; of each tile the group's heads,
// twice with shared sets (once to rank). While one is used, the next is on its way.
template <int D, Sets kSets>
class QueryStream {
 public:
  using Memory = KeysMemory<D>;

  __device__ __forceinline__ QueryStream(const BackwardJob& job, const Tile& keys, int kv_head,
                                         uint8_t* memory)
      : job_(job),
        keys_(keys),
        memory_(memory),
        first_head_(kv_head * job.group),
        next_((keys.end - 1 - keys.begin) / kBackwardRows * kBackwardRows + keys.begin) {}

  // Starts to load the first; what was started before is waited for with it.
  __device__ __forceinline__ void begin() { fetch(); }
  __device__ __forceinline__ bool done() const { return next_ < keys_.first; }

  // The next tile, complete for all threads; the one before may no longer be used.
  __device__ __forceinline__ QueryTile next() {
    cuda::copy_async_wait<0>();
    __syncthreads();
    const QueryTile tile = next_tile();
    stage_ ^= 1;
    if (++part_ == (kSets == Sets::Shared ? 2 : 1) * job_.group) {
      part_ = 0;
      next_ -= kBackwardRows;
    }
    if (!done()) fetch();
    return tile;
  }

 private:
  __device__ __forceinline__ bool ranks_only() const {
    return kSets == Sets::Shared && part_ < job_.group;
  }
  __device__ __forceinline__ QueryTile next_tile() const {
    uint8_t* stage = memory_ + stage_ * Memory::kStage;
    const uint32_t address = cuda::shared_address(stage);
    const int head = kSets == Sets::Shared && !ranks_only() ? part_ - job_.group : part_;
    return {.queries = address,
            .douts = address + Memory::kTile,
            .memory = stage,
            .stats = reinterpret_cast<const RowStats*>(stage + 2 * Memory::kTile),
            .first = next_,
            .head = first_head_ + head};
  }
  __device__ __forceinline__ void fetch() {
    const int thread = static_cast<int>(threadIdx.x);
    const QueryTile tile = next_tile();
    load_tile<D, kBackwardRows, kBackwardThreads>(
        tile.queries, head_rows(job_.qkv, job_.all_heads, tile.head, D), tile.first, keys_.end,
        thread);
    if (!ranks_only()) {
      load_tile<D, kBackwardRows, kBackwardThreads>(tile.douts,
                                                    head_rows(job_.dout, job_.heads, tile.head, D),
                                                    tile.first, keys_.end, thread);
    }
    if (thread < kBackwardRows) {
      const bool inside = tile.first + thread < keys_.end;
      const RowStats* from = job_.stats + tile.head * job_.tokens + tile.first;
      cuda::copy_async_16(cuda::shared_address(tile.stats + thread), inside ? from + thread : from,
                          inside);
    }
    cuda::copy_async_commit();
  }

  const BackwardJob& job_;
  const Tile& keys_;
  uint8_t* memory_;
  int first_head_;
  int32_t next_;   // first row of the next tile
  int part_ = 0;   // of the next tile: which head, and what for
  int stage_ = 0;  // where the next tile is
};

// Where a lane's pairs with a query tile lie.
struct Pairs {
  const BackwardJob& job;
  const Tile& keys;
  const QueryTile& tile;
  int32_t first_key;  // of the warp
  int lane;

  __device__ __forceinline__ int32_t key(int c) const {
    return first_key + row_in_warp(lane, 0, c);
  }
  __device__ __forceinline__ int32_t query(int n, int c) const {
    return tile.first + column_in_tile(lane, n, c);
  }
  __device__ __forceinline__ const RowStats& stats(int n, int c) const {
    return tile.stats[column_in_tile(lane, n, c)];
  }
  __device__ __forceinline__ PairMask visible() const {
    const bool edge = tile.first == keys.first || tile.first + kBackwardRows > keys.end;
    if (!edge) return ~PairMask{0};
    return pairs_where(
        [&](int n, int c) { return key(c) <= query(n, c) && query(n, c) < keys.end; });
  }
  // Pairs of the set that tau and jcut describe.
  __device__ __forceinline__ PairMask kept(const Scores& rank) const {
    const bool forced = keys.first - keys.begin < job.sink ||
                        tile.first - (keys.first + kBackwardRows - 1) < job.recent;
    const PairMask mask =
        forced ? pairs_where([&](int n, int c) {
          const bool first = is_forced(key(c), keys.begin, query(n, c), job.sink, job.recent);
          const RowStats& row = stats(n, c);
          return is_kept(first ? kForcedScore : rank[0][n][c], key(c), row.tau, row.jcut);
        })
               : pairs_where([&](int n, int c) {
                   const RowStats& row = stats(n, c);
                   return is_kept(rank[0][n][c], key(c), row.tau, row.jcut);
                 });
    return mask & visible();
  }
  // Visible pairs of rows that are NaN.
  __device__ __forceinline__ PairMask nan() const {
    return pairs_where([&](int n, int c) { return std::isnan(stats(n, c).lse2); }) & visible();
  }
  // False if dout or the queries of a row may hold infinities or NaN (the row's delta does then).
  __device__ __forceinline__ bool finite() const {
    const float low = tile.stats[lane].delta;
    const float high = tile.stats[lane + cuda::kWarp].delta;
    return __all_sync(cuda::kAllLanes, std::isfinite(low) && std::isfinite(high)) != 0;
  }
};

template <int D>
struct KeySums {
  Sums<D> dkeys;
  Sums<D> dvalues;
};

// dV += P^T dO, dK += dS^T Q over one query tile of one head.
template <int D>
__device__ __forceinline__ void add_tile(KeySums<D>& sums, const Pairs& pairs, const Scores& s,
                                         PairMask kept, bool finite, uint32_t values, int row) {
  const QueryTile& tile = pairs.tile;
  const auto stats = [&](int n, int c) -> const RowStats& { return pairs.stats(n, c); };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const bool any[2] = {any_pair(kept, 2 * half), any_pair(kept, 2 * half + 1)};
    if (!any[0] && !any[1]) continue;
    HalfScores dp;
    score_tile<D, 1, kBackwardRows / 16>(dp, values, row, tile.douts, half * kBackwardRows / 2,
                                         pairs.lane);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (!any[i]) continue;
      const int block = 2 * half + i;
      const Weights w = weigh(s, dp, kept, block, pairs.job, stats);
      if (finite) {
        add_product<D>(sums.dvalues, w.p, tile.douts, 16 * block, pairs.lane);
        add_product<D>(sums.dkeys, w.ds, tile.queries, 16 * block, pairs.lane);
      } else {
        const uint32_t bits = kept >> (8 * block);
        add_kept_products<D>(sums.dvalues, w.p, bits, tile.memory + KeysMemory<D>::kTile,
                             16 * block, pairs.lane);
        add_kept_products<D>(sums.dkeys, w.ds, bits, tile.memory, 16 * block, pairs.lane);
      }
    }
  }
}

// A warp owns 16 of the block's 64 keys: its dK and dV, over all heads of the group, stay in
// registers.
template <int D, Sets kSets>
__global__ void __launch_bounds__(kBackwardThreads, kBackwardBlocks<D, kSets>)
    backward_keys_kernel(const BackwardJob job) {
  using Memory = KeysMemory<D>;
  // The first keys of a document take longest.
  const int32_t index = static_cast<int32_t>(blockIdx.x) / job.kv_heads;
  const int kv_head = static_cast<int>(blockIdx.x) % job.kv_heads;
  const Tile keys = job.tiles[job.tile_count - 1 - index];
  if (keys.first >= keys.end) return;
  uint8_t* memory = cuda::dynamic_shared();
  const uint32_t key_tile = cuda::shared_address(memory);
  const uint32_t value_tile = key_tile + Memory::kTile;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % cuda::kWarp;
  const int warp_row = thread / cuda::kWarp * kWarpRows;
  const int key_head = job.heads + kv_head;
  const int value_head = key_head + job.kv_heads;

  load_tile<D, kBackwardRows, kBackwardThreads>(key_tile,
                                                head_rows(job.qkv, job.all_heads, key_head, D),
                                                keys.first, keys.end, thread);
  load_tile<D, kBackwardRows, kBackwardThreads>(value_tile,
                                                head_rows(job.qkv, job.all_heads, value_head, D),
                                                keys.first, keys.end, thread);
  QueryStream<D, kSets> stream(job, keys, kv_head, memory + 2 * Memory::kTile);
  stream.begin();
  KeySums<D> sums = {};
  while (!stream.done()) {
    PairMask kept = 0;
    if constexpr (kSets == Sets::Shared) {
      Scores rank;
#pragma unroll 1
      for (int h = 0; h < job.group; ++h) {
        const QueryTile tile = stream.next();
        Scores s;
        score_tile<D, 1, kBackwardRows / 8>(s, key_tile, warp_row, tile.queries, 0, lane);
        combine_ranks(rank, s, h == 0, job.rank_by_sum);
        const Pairs pairs{job, keys, tile, keys.first + warp_row, lane};
        if (h == job.group - 1) kept = pairs.kept(rank);
      }
    }
    for (int h = 0; h < job.group; ++h) {
      const QueryTile tile = stream.next();
      const Pairs pairs{job, keys, tile, keys.first + warp_row, lane};
      Scores s;
      score_tile<D, 1, kBackwardRows / 8>(s, key_tile, warp_row, tile.queries, 0, lane);
      PairMask of_head = kSets == Sets::Shared ? kept : pairs.kept(s);
      const bool finite = pairs.finite();
      if (!finite) of_head |= pairs.nan();
      add_tile<D>(sums, pairs, s, of_head, finite, value_tile, warp_row);
    }
  }
  const int32_t first = keys.first + warp_row;
  store_sums<D>(sums.dkeys, job.dqkv, job.all_heads, key_head, first, keys.end, lane);
  store_sums<D>(sums.dvalues, job.dqkv, job.all_heads, value_head, first, keys.end, lane);
}

template <int D, Sets kSets>
void launch_keys(const BackwardJob& job, Context& ctx) {
  constexpr auto kKernel = &backward_keys_kernel<D, kSets>;
  cuda::allow_shared_memory(kKernel, KeysMemory<D>::kBytes);
  cuda::launch(kKernel, dim3(cuda::grid_size(int64_t{job.tile_count} * job.kv_heads)),
               dim3(kBackwardThreads), KeysMemory<D>::kBytes, cuda::stream(ctx), job);
}

}  // namespace

void backward_keys(const BackwardJob& job, int64_t width, Sets sets, Context& ctx) {
  if (width == 128) {
    sets == Sets::Shared ? launch_keys<128, Sets::Shared>(job, ctx)
                         : launch_keys<128, Sets::OfHead>(job, ctx);
  } else {
    sets == Sets::Shared ? launch_keys<64, Sets::Shared>(job, ctx)
                         : launch_keys<64, Sets::OfHead>(job, ctx);
  }
}

}  // namespace pivot::attention
