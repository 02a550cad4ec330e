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
        keys_(job.qkv.keys(kv_head)),
        values_(job.qkv.values(kv_head)),
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
    const bool forced = job.rule.forces(first_key, kBackwardRows, rows.begin, rows.first);
    PairMask mask =
        forced ? pairs_where([&](int n, int c) {
          const float score = job.rule.rank(rank[0][n][c], key(n, c), rows.begin, query(c));
          return is_kept(score, key(n, c), row[c / 2].tau, row[c / 2].jcut);
        })
               : pairs_where([&](int n, int c) {
                   return is_kept(rank[0][n][c], key(n, c), row[c / 2].tau, row[c / 2].jcut);
                 });
    if (std::isnan(row[0].lse)) mask |= 0x33333333U;
    if (std::isnan(row[1].lse)) mask |= 0xCCCCCCCCU;
    return mask & visible();
  }
};

// What rows beyond the document keep: nothing.
__device__ __forceinline__ RowStats stats_of(const BackwardJob& job, const Tile& rows, int head,
                                             int32_t row) {
  if (row >= rows.end) return {kForcedScore, -1, 0.0F, 0.0F};
  return job.stats[head * job.tokens + row];
}

// dQ += dS K over one key tile.
template <int D>
__device__ __forceinline__ void add_tile(Sums<D>& dqueries, const Pairs& pairs, const KeyTile& tile,
                                         const Scores& s, PairMask kept,
                                         const RowFragments<D, 1>& douts) {
  constexpr int kBlocks = 2;  // of dP at once
#pragma unroll
  for (int first = 0; first < kColumnBlocks; first += kBlocks) {
    if (!any_pair<kBlocks>(kept, first)) continue;
    float dp[1][2 * kBlocks][4];
    score_tile(dp, douts, tile.values, 16 * first, pairs.lane);
#pragma unroll
    for (int block = first; block < first + kBlocks; ++block) {
      if (!any_pair<1>(kept, block)) continue;
      const Weights w =
          weigh(s, dp, kept, block, pairs.job, [&](int, int c) { return pairs.row[c / 2]; });
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
  const Tile rows = job.tiles[static_cast<int32_t>(blockIdx.x) / job.qkv.heads];
  if (rows.first >= rows.end) return;
  const int head = static_cast<int>(blockIdx.x) % job.qkv.heads;
  const int kv_head = head / job.group;
  uint8_t* memory = cuda::dynamic_shared();
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % cuda::kWarp;
  const int warp_row = thread / cuda::kWarp * kWarpRows;
  const int32_t first_row = rows.first + warp_row;

  const uint32_t passing = cuda::shared_address(memory + Memory::kStage);
  load_tile<D, kBackwardRows, kBackwardThreads>(passing, job.qkv.queries(head), rows.first,
                                                rows.end, thread);
  load_tile<D, kBackwardRows, kBackwardThreads>(passing + Memory::kTile,
                                                head_rows(job.dout, job.qkv.heads, head, D),
                                                rows.first, rows.end, thread);
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
      group_scores<D>(rank, job.qkv, kv_head, job.rule, first_row, rows.end - 1, tile.keys, 0,
                      lane);
      kept = pairs.kept(rank);
      // Read again too: held besides the ranks they would not fit into the registers.
      queries.load(job.qkv.queries(head), first_row, rows.end - 1, lane);
    }
    Scores s;
    score_tile(s, queries, tile.keys, 0, lane);
    if constexpr (kSets == Sets::OfHead) kept = pairs.kept(s);
    add_tile<D>(dqueries, pairs, tile, s, kept, douts);
  }
  store_sums<D>(dqueries, job, head, first_row, rows.end, lane);
}

template <int D, Sets kSets>
void launch_queries(const BackwardJob& job, Context& ctx) {
  constexpr auto kKernel = &backward_queries_kernel<D, kSets>;
  cuda::allow_shared_memory(kKernel, QueriesMemory<D>::kBytes);
  cuda::launch(kKernel, dim3(cuda::grid_size(int64_t{job.tile_count} * job.qkv.heads)),
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
