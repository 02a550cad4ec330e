#include <cmath>

#include "kernels/attention/cuda/tile_backward.cuh"
#include "kernels/attention/order.h"
#include "kernels/cuda/launch.h"

namespace pivot::attention {
namespace {

// Shared memory: two stages of a key tile and its values. The block's queries and dout pass through
// the second on their way to registers.
template <int D>
struct QueriesMemory {
  static constexpr int kTile = tile_bytes<D>(kBackwardRows);
  static constexpr int kStage = 2 * kTile;
  static constexpr int kBytes = 2 * kStage;
};

struct KeyTile {
  uint32_t keys;
  uint32_t values;
  const uint8_t* memory;  // of the keys
  int32_t first;
  bool finite;  // all the keys
};

// The key tiles that a tile of rows sees, ascending. While one is used, the next is on its way.
template <int D>
class KeyStream {
 public:
  using Memory = QueriesMemory<D>;

  __device__ __forceinline__ KeyStream(const BackwardJob& job, const Tile& rows, int kv_head,
                                       uint8_t* memory)
      : job_(job),
        rows_(rows),
        keys_(head_rows(job.qkv, job.all_heads, job.heads + kv_head, D)),
        values_(head_rows(job.qkv, job.all_heads, job.heads + job.kv_heads + kv_head, D)),
        keys_finite_(job.keys_finite + kv_head * job.tokens),
        memory_(memory),
        next_(rows.begin) {}

  // Starts to load the first; what was started before is waited for with it.
  __device__ __forceinline__ void begin() { fetch(); }
  __device__ __forceinline__ bool done() const { return next_ > rows_.first; }

  // The next tile, complete for all threads; the one before may no longer be used.
  __device__ __forceinline__ KeyTile next() {
    cuda::copy_async_wait<0>();
    __syncthreads();
    const bool finite = __all_sync(cuda::kAllLanes, lane_finite_) != 0;
    uint8_t* stage = memory_ + stage_ * Memory::kStage;
    const KeyTile tile{.keys = cuda::shared_address(stage),
                       .values = cuda::shared_address(stage) + Memory::kTile,
                       .memory = stage,
                       .first = next_,
                       .finite = finite};
    next_ += kBackwardRows;
    stage_ ^= 1;
    if (!done()) fetch();
    return tile;
  }

 private:
  __device__ __forceinline__ void fetch() {
    const int thread = static_cast<int>(threadIdx.x);
    const uint32_t stage = cuda::shared_address(memory_ + stage_ * Memory::kStage);
    load_tile<D, kBackwardRows, kBackwardThreads>(stage, keys_, next_, rows_.end, thread);
    load_tile<D, kBackwardRows, kBackwardThreads>(stage + Memory::kTile, values_, next_, rows_.end,
                                                  thread);
    cuda::copy_async_commit();
    const int32_t low = next_ + thread % cuda::kWarp;
    const int32_t high = low + cuda::kWarp;
    lane_finite_ = (low >= rows_.end || keys_finite_[low] != 0) &&
                   (high >= rows_.end || keys_finite_[high] != 0);
  }

  const BackwardJob& job_;
  const Tile& rows_;
  HeadRows keys_;
  HeadRows values_;
  const uint8_t* keys_finite_;
  uint8_t* memory_;
  int32_t next_;
  int stage_ = 0;
  bool lane_finite_ = true;  // the lane's two keys of the tile that is next
};

// Where a lane's pairs with a key tile lie, and its two rows.
struct Pairs {
  const BackwardJob& job;
  const Tile& rows;
  const RowStats (&row)[2];
  int32_t first_row;  // of the warp
  int32_t first_key;  // of the tile
  int lane;

  __device__ __forceinline__ int32_t query(int c) const {
    return first_row + row_in_warp(lane, 0, c);
  }
  __device__ __forceinline__ int32_t key(int n, int c) const {
    return first_key + column_in_tile(lane, n, c);
  }
  __device__ __forceinline__ PairMask visible() const {
    if (first_key != rows.first) return ~PairMask{0};
    return pairs_where([&](int n, int c) { return key(n, c) <= query(c); });
  }
  // Pairs of the set that tau and jcut describe, and all visible pairs of rows that are NaN.
  __device__ __forceinline__ PairMask kept(const Scores& rank) const {
    const bool forced = first_key - rows.begin < job.sink ||
                        rows.first - (first_key + kBackwardRows - 1) < job.recent;
    PairMask mask =
        forced ? pairs_where([&](int n, int c) {
          const bool first = is_forced(key(n, c), rows.begin, query(c), job.sink, job.recent);
          return is_kept(first ? kForcedScore : rank[0][n][c], key(n, c), row[c / 2].tau,
                         row[c / 2].jcut);
        })
               : pairs_where([&](int n, int c) {
                   return is_kept(rank[0][n][c], key(n, c), row[c / 2].tau, row[c / 2].jcut);
                 });
    if (std::isnan(row[0].lse2)) mask |= 0x33333333U;
    if (std::isnan(row[1].lse2)) mask |= 0xCCCCCCCCU;
    return mask & visible();
  }
};

// What rows beyond the document keep: nothing.
__device__ __forceinline__ RowStats stats_of(const BackwardJob& job, const Tile& rows, int head,
                                             int32_t row) {
  if (row >= rows.end) return {kForcedScore, -1, 0.0F, 0.0F};
  return job.stats[head * job.tokens + row];
}

// Scores of the warp's rows of any head, read from global memory, with a key tile.
template <int D>
__device__ __forceinline__ void score_head(Scores& s, const BackwardJob& job, const Tile& rows,
                                           int head, int32_t first_row, uint32_t keys, int lane) {
  const HeadRows queries = head_rows(job.qkv, job.all_heads, head, D);
  const BFloat16* from[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int32_t row = first_row + row_in_warp(lane, 0, 2 * i);
    from[i] = queries.row(row < rows.end ? row : rows.first) + 2 * (lane % 4);
  }
#pragma unroll
  for (int n = 0; n < kBackwardRows / 8; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) s[0][n][c] = 0;
  }
#pragma unroll 1
  for (int d = 0; d < D; d += 16) {
    uint32_t a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      a[i] = *reinterpret_cast<const uint32_t*>(from[i % 2] + d + 8 * (i / 2));
    }
#pragma unroll
    for (int n = 0; n < kBackwardRows / 8; n += 2) {
      uint32_t b[4];
      load_b_rows<D>(b, keys, 8 * n, d, lane);
      cuda::mma_16x8x16(s[0][n], a, b[0], b[1]);
      cuda::mma_16x8x16(s[0][n + 1], a, b[2], b[3]);
    }
  }
}

// dQ += dS K over one key tile.
template <int D>
__device__ __forceinline__ void add_tile(Sums<D>& dqueries, const Pairs& pairs, const KeyTile& tile,
                                         const Scores& s, PairMask kept,
                                         const RowFragments<D, 1>& douts) {
  const auto stats = [&](int, int c) -> const RowStats& { return pairs.row[c / 2]; };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const bool any[2] = {any_pair(kept, 2 * half), any_pair(kept, 2 * half + 1)};
    if (!any[0] && !any[1]) continue;
    HalfScores dp;
    score_tile(dp, douts, tile.values, half * kBackwardRows / 2, pairs.lane);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (!any[i]) continue;
      const int block = 2 * half + i;
      const Weights w = weigh(s, dp, kept, block, pairs.job, stats);
      if (tile.finite) {
        add_product<D>(dqueries, w.ds, tile.keys, 16 * block, pairs.lane);
      } else {
        add_kept_products<D>(dqueries, w.ds, kept >> (8 * block), tile.memory, 16 * block,
                             pairs.lane);
      }
    }
  }
}

// A warp owns 16 of the block's 64 rows: its queries, dout and dQ stay in registers.
template <int D, Sets kSets>
__global__ void __launch_bounds__(kBackwardThreads, kBackwardBlocks<D, kSets>)
    backward_queries_kernel(const BackwardJob job) {
  using Memory = QueriesMemory<D>;
  const Tile rows = job.tiles[static_cast<int32_t>(blockIdx.x) / job.heads];
  if (rows.first >= rows.end) return;
  const int head = static_cast<int>(blockIdx.x) % job.heads;
  const int kv_head = head / job.group;
  uint8_t* memory = cuda::dynamic_shared();
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % cuda::kWarp;
  const int warp_row = thread / cuda::kWarp * kWarpRows;
  const int32_t first_row = rows.first + warp_row;

  const uint32_t passing = cuda::shared_address(memory + Memory::kStage);
  load_tile<D, kBackwardRows, kBackwardThreads>(passing,
                                                head_rows(job.qkv, job.all_heads, head, D),
                                                rows.first, rows.end, thread);
  load_tile<D, kBackwardRows, kBackwardThreads>(passing + Memory::kTile,
                                                head_rows(job.dout, job.heads, head, D), rows.first,
                                                rows.end, thread);
  KeyStream<D> stream(job, rows, kv_head, memory);
  stream.begin();
  const RowStats row[2] = {stats_of(job, rows, head, first_row + row_in_warp(lane, 0, 0)),
                           stats_of(job, rows, head, first_row + row_in_warp(lane, 0, 2))};
  cuda::copy_async_wait<0>();
  __syncthreads();
  RowFragments<D, 1> queries;
  RowFragments<D, 1> douts;
  queries.load(passing, warp_row, lane);
  douts.load(passing + Memory::kTile, warp_row, lane);

  Sums<D> dqueries = {};
  while (!stream.done()) {
    const KeyTile tile = stream.next();
    const Pairs pairs{job, rows, row, first_row, tile.first, lane};
    PairMask kept = 0;
    if constexpr (kSets == Sets::Shared) {
      Scores rank;
#pragma unroll 1
      for (int h = 0; h < job.group; ++h) {
        Scores s;
        score_head<D>(s, job, rows, kv_head * job.group + h, first_row, tile.keys, lane);
        combine_ranks(rank, s, h == 0, job.rank_by_sum);
      }
      kept = pairs.kept(rank);
    }
    Scores s;
    if constexpr (kSets == Sets::Shared) {
      score_head<D>(s, job, rows, head, first_row, tile.keys, lane);
    } else {
      score_tile(s, queries, tile.keys, 0, lane);
      kept = pairs.kept(s);
    }
    add_tile<D>(dqueries, pairs, tile, s, kept, douts);
  }
  store_sums<D>(dqueries, job.dqkv, job.all_heads, head, first_row, rows.end, lane);
}

template <int D, Sets kSets>
void launch_queries(const BackwardJob& job, Context& ctx) {
  constexpr auto kKernel = &backward_queries_kernel<D, kSets>;
  cuda::allow_shared_memory(kKernel, QueriesMemory<D>::kBytes);
  cuda::launch(kKernel, dim3(cuda::grid_size(int64_t{job.tile_count} * job.heads)),
               dim3(kBackwardThreads), QueriesMemory<D>::kBytes, cuda::stream(ctx), job);
}

}  // namespace

void backward_queries(const BackwardJob& job, int64_t width, Sets sets, Context& ctx) {
  if (width == 128) {
    sets == Sets::Shared ? launch_queries<128, Sets::Shared>(job, ctx)
                         : launch_queries<128, Sets::OfHead>(job, ctx);
  } else {
    sets == Sets::Shared ? launch_queries<64, Sets::Shared>(job, ctx)
                         : launch_queries<64, Sets::OfHead>(job, ctx);
  }
}

}  // namespace pivot::attention
