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
template <int D>
struct QueryTile {
  int offset;  // of its stage in the block's shared memory
  int32_t first;
  int head;

  __device__ __forceinline__ const uint8_t* queries() const {
    return cuda::dynamic_shared() + offset;
  }
  __device__ __forceinline__ const uint8_t* douts() const {
    return queries() + KeysMemory<D>::kTile;
  }
  // Of the tile's rows; zeros beyond the document.
  __device__ __forceinline__ const RowStats* stats() const {
    return reinterpret_cast<const RowStats*>(douts() + KeysMemory<D>::kTile);
  }
};

// The query tiles that see a tile of keys: from the document's last down to the diagonal, so that
// blocks of different keys read the same rows at the same time; of each tile the group's heads,
// twice with shared sets (once to rank). While one is used, the next is on its way.
template <int D, Sets kSets>
class QueryStream {
 public:
  using Memory = KeysMemory<D>;

  __device__ __forceinline__ QueryStream(const BackwardJob& job, const Tile& keys, int kv_head)
      : job_(job),
        keys_(keys),
        first_head_(kv_head * job.group),
        next_((keys.end - 1 - keys.begin) / kBackwardRows * kBackwardRows + keys.begin) {}

  // Starts to load the first; what was started before is waited for with it.
  __device__ __forceinline__ void begin() { fetch(); }
  __device__ __forceinline__ bool done() const { return next_ < keys_.first; }

  // Whether the next tile is there to rank, without dout.
  __device__ __forceinline__ bool ranks() const {
    return kSets == Sets::Shared && part_ < job_.group;
  }
  // Whether it is the first of those with its rows.
  __device__ __forceinline__ bool at_first_part() const { return part_ == 0; }

  // The next tile, complete for all threads; the one before may no longer be used.
  __device__ __forceinline__ QueryTile<D> next() {
    cuda::copy_async_wait<0>();
    __syncthreads();
    const QueryTile<D> tile = next_tile();
    stage_ ^= 1;
    if (++part_ == (kSets == Sets::Shared ? 2 : 1) * job_.group) {
      part_ = 0;
      next_ -= kBackwardRows;
    }
    if (!done()) fetch();
    return tile;
  }

 private:
  __device__ __forceinline__ QueryTile<D> next_tile() const {
    const int head = kSets == Sets::Shared && !ranks() ? part_ - job_.group : part_;
    return {.offset = 2 * Memory::kTile + stage_ * Memory::kStage,
            .first = next_,
            .head = first_head_ + head};
  }
  __device__ __forceinline__ void fetch() {
    const int thread = static_cast<int>(threadIdx.x);
    const QueryTile<D> tile = next_tile();
    load_tile<D, kBackwardRows, kBackwardThreads>(cuda::shared_address(tile.queries()),
                                                  job_.qkv.queries(tile.head), tile.first,
                                                  keys_.end, thread);
    if (!ranks()) {
      load_tile<D, kBackwardRows, kBackwardThreads>(
          cuda::shared_address(tile.douts()), head_rows(job_.dout, job_.qkv.heads, tile.head, D),
          tile.first, keys_.end, thread);
    }
    if (thread < kBackwardRows) {
      const bool inside = tile.first + thread < keys_.end;
      const RowStats* from = job_.stats + tile.head * job_.tokens + tile.first;
      cuda::copy_async_16(cuda::shared_address(tile.stats() + thread),
                          inside ? from + thread : from, inside);
    }
    cuda::copy_async_commit();
  }

  const BackwardJob& job_;
  const Tile& keys_;
  int first_head_;
  int32_t next_;   // first row of the next tile
  int part_ = 0;   // of the next tile: which head, and what for
  int stage_ = 0;  // where the next tile is
};

// Where a lane's pairs with a query tile lie.
template <int D>
struct Pairs {
  const BackwardJob& job;
  const Tile& keys;
  const QueryTile<D>& tile;
  int32_t first_key;  // of the warp
  int lane;

  __device__ __forceinline__ int32_t key(int c) const {
    return first_key + row_in_warp(lane, 0, c);
  }
  __device__ __forceinline__ int32_t query(int n, int c) const {
    return tile.first + column_in_tile(lane, n, c);
  }
  __device__ __forceinline__ const RowStats& stats(int n, int c) const {
    return tile.stats()[column_in_tile(lane, n, c)];
  }
  __device__ __forceinline__ PairMask visible() const {
    const bool edge = tile.first == keys.first || tile.first + kBackwardRows > keys.end;
    if (!edge) return ~PairMask{0};
    return pairs_where(
        [&](int n, int c) { return key(c) <= query(n, c) && query(n, c) < keys.end; });
  }
  // Pairs of the set that tau and jcut describe.
  __device__ __forceinline__ PairMask kept(const Scores& rank) const {
    const bool forced = job.rule.forces(keys.first, kBackwardRows, keys.begin, tile.first);
    const PairMask mask = forced ? pairs_where([&](int n, int c) {
      const float score = job.rule.rank(rank[0][n][c], key(c), keys.begin, query(n, c));
      const RowStats& row = stats(n, c);
      return is_kept(score, key(c), row.tau, row.jcut);
    })
                                 : pairs_where([&](int n, int c) {
                                     const RowStats& row = stats(n, c);
                                     return is_kept(rank[0][n][c], key(c), row.tau, row.jcut);
                                   });
    return mask & visible();
  }
  // Visible pairs of rows that are NaN.
  __device__ __forceinline__ PairMask nan() const {
    return pairs_where([&](int n, int c) { return std::isnan(stats(n, c).lse); }) & visible();
  }
  // False if dout or the queries of a row may hold infinities or NaN (the row's delta does then).
  __device__ __forceinline__ bool finite() const {
    const float low = tile.stats()[lane].delta;
    const float high = tile.stats()[lane + cuda::kWarp].delta;
    return __all_sync(cuda::kAllLanes, std::isfinite(low) && std::isfinite(high)) != 0;
  }
};

template <int D>
struct KeySums {
  Sums<D> dkeys;
  Sums<D> dvalues;
};

// Products of one block of 16 columns with its queries and dout.
template <int D>
__device__ __forceinline__ void add_block(KeySums<D>& sums, const Pairs<D>& pairs, const Weights& w,
                                          PairMask kept, int block, bool finite) {
  const QueryTile<D>& tile = pairs.tile;
  const int lane = pairs.lane;
  if (finite) {
    add_product<D>(sums.dvalues, w.p, cuda::shared_address(tile.douts()), 16 * block, lane);
    add_product<D>(sums.dkeys, w.ds, cuda::shared_address(tile.queries()), 16 * block, lane);
  } else {
    const uint32_t bits = kept >> (8 * block);
    add_kept_products<D>(sums.dvalues, w.p, bits, tile.douts(), 16 * block, lane);
    add_kept_products<D>(sums.dkeys, w.ds, bits, tile.queries(), 16 * block, lane);
  }
}

// Own sets: dV += P^T dO, dK += dS^T Q over one query tile of one head. dP is computed for two
// blocks of 16 columns at once where registers allow.
template <int D>
__device__ __forceinline__ void add_tile(KeySums<D>& sums, const Pairs<D>& pairs, uint32_t keys,
                                         uint32_t values, int row) {
  constexpr int kBlocks = D == 128 ? 2 : 1;
  const uint32_t queries = cuda::shared_address(pairs.tile.queries());
  const uint32_t douts = cuda::shared_address(pairs.tile.douts());
  Scores s;
  score_tile<D, 1, kBackwardRows / 8>(s, keys, row, queries, 0, pairs.lane);
  PairMask kept = pairs.kept(s);
  const bool finite = pairs.finite();
  if (!finite) kept |= pairs.nan();
#pragma unroll
  for (int first = 0; first < kColumnBlocks; first += kBlocks) {
    if (!any_pair<kBlocks>(kept, first)) continue;
    float dp[1][2 * kBlocks][4];
    score_tile<D, 1, 2 * kBlocks>(dp, values, row, douts, 16 * first, pairs.lane);
#pragma unroll
    for (int block = first; block < first + kBlocks; ++block) {
      if (kBlocks > 1 && !any_pair<1>(kept, block)) continue;
      const Weights w =
          weigh(s, dp, kept, block, pairs.job, [&](int n, int c) { return pairs.stats(n, c); });
      add_block<D>(sums, pairs, w, kept, block, finite);
    }
  }
}

// Shared sets: the same, where it is known which pairs are kept; scores only of blocks with some.
template <int D>
__device__ __forceinline__ void add_kept(KeySums<D>& sums, const Pairs<D>& pairs, PairMask kept,
                                         uint32_t keys, uint32_t values, int row) {
  const uint32_t queries = cuda::shared_address(pairs.tile.queries());
  const uint32_t douts = cuda::shared_address(pairs.tile.douts());
  const bool finite = pairs.finite();
  if (!finite) kept |= pairs.nan();
#pragma unroll 1
  for (int block = 0; block < kColumnBlocks; ++block) {
    if (!any_pair<1>(kept, block)) continue;
    float s[1][2][4];
    float dp[1][2][4];
    score_tile<D, 1, 2>(s, keys, row, queries, 16 * block, pairs.lane);
    score_tile<D, 1, 2>(dp, values, row, douts, 16 * block, pairs.lane);
    const Weights w =
        weigh(s, dp, kept, block, pairs.job, [&](int n, int c) { return pairs.stats(n, c); });
    add_block<D>(sums, pairs, w, kept, block, finite);
  }
}

// rank = the group's ranking scores after one more head's scores, heads in ascending order; half of
// the columns at a time, for want of registers.
template <int D>
__device__ __forceinline__ void add_ranks(Scores& rank, uint32_t keys, int row,
                                          const QueryTile<D>& tile, bool first,
                                          const RankRule& rule, int lane) {
  constexpr int kHalf = kBackwardRows / 16;
#pragma unroll
  for (int begin = 0; begin < 2 * kHalf; begin += kHalf) {
    float s[1][kHalf][4];
    score_tile<D, 1, kHalf>(s, keys, row, cuda::shared_address(tile.queries()), 8 * begin, lane);
#pragma unroll
    for (int n = 0; n < kHalf; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float before = rank[0][begin + n][c];
        const float score = s[0][n][c];
        rank[0][begin + n][c] = first      ? score
                                : rule.sum ? before + score
                                           : cuda::max_nan(before, score);
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
  const int32_t index = static_cast<int32_t>(blockIdx.x) / job.qkv.kv_heads;
  const int kv_head = static_cast<int>(blockIdx.x) % job.qkv.kv_heads;
  const Tile keys = job.tiles[job.tile_count - 1 - index];
  if (keys.first >= keys.end) return;
  const uint32_t key_tile = cuda::shared_address(cuda::dynamic_shared());
  const uint32_t value_tile = key_tile + Memory::kTile;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % cuda::kWarp;
  const int warp_row = thread / cuda::kWarp * kWarpRows;

  load_tile<D, kBackwardRows, kBackwardThreads>(key_tile, job.qkv.keys(kv_head), keys.first,
                                                keys.end, thread);
  load_tile<D, kBackwardRows, kBackwardThreads>(value_tile, job.qkv.values(kv_head), keys.first,
                                                keys.end, thread);
  QueryStream<D, kSets> stream(job, keys, kv_head);
  stream.begin();
  KeySums<D> sums = {};
  const auto pairs_of = [&](const QueryTile<D>& tile) {
    return Pairs<D>{job, keys, tile, keys.first + warp_row, lane};
  };
  while (!stream.done()) {
    if constexpr (kSets == Sets::OfHead) {
      const QueryTile<D> tile = stream.next();
      add_tile<D>(sums, pairs_of(tile), key_tile, value_tile, warp_row);
    } else {
      Scores rank;
      QueryTile<D> ranked;
      do {
        const bool first = stream.at_first_part();
        ranked = stream.next();
        add_ranks<D>(rank, key_tile, warp_row, ranked, first, job.rule, lane);
      } while (stream.ranks());
      const PairMask kept = pairs_of(ranked).kept(rank);
      do {
        const QueryTile<D> tile = stream.next();
        add_kept<D>(sums, pairs_of(tile), kept, key_tile, value_tile, warp_row);
      } while (!stream.at_first_part());
    }
  }
  const int32_t first = keys.first + warp_row;
  store_sums<D>(sums.dkeys, job, job.qkv.heads + kv_head, first, keys.end, lane);
  store_sums<D>(sums.dvalues, job, job.qkv.heads + job.qkv.kv_heads + kv_head, first, keys.end,
                lane);
}

template <int D, Sets kSets>
void launch_keys(const BackwardJob& job, Context& ctx) {
  constexpr auto kKernel = &backward_keys_kernel<D, kSets>;
  cuda::allow_shared_memory(kKernel, KeysMemory<D>::kBytes);
  cuda::launch(kKernel, dim3(cuda::grid_size(int64_t{job.tile_count} * job.qkv.kv_heads)),
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
