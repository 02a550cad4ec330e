// Top-k, first pass: the scores of all keys with all query heads of their KV head. Reads the keys
// once; everything else of the pass stays in L2 as a rule (32 heads x 128K keys: 16 MB).
#include "kernels/decode_attention/cuda/stages.h"
#include "kernels/decode_attention/cuda/tile.cuh"

namespace pivot::decode {
namespace {

constexpr int kStages = 2;
// Two tiles of D = 128 are 34 KiB: six blocks fill the shared memory of an H100.
constexpr int kResident = 6;

template <class T>
struct Layout {
  RowShape<T> shape;
  int rows;  // of queries, a multiple of kQueryRows
  int queries, scores, running, nan, bytes;

  PIVOT_HD Layout(int head_dim, int group)
      : shape(head_dim), rows((group + kQueryRows - 1) / kQueryRows * kQueryRows) {
    queries = kStages * shape.tile_bytes();
    scores = queries + rows * shape.stride * static_cast<int>(sizeof(T));
    running = scores + rows * kTileKeys<T> * static_cast<int>(sizeof(float));
    nan = running + rows * static_cast<int>(sizeof(Running));
    bytes = nan + rows * static_cast<int>(sizeof(int32_t));
  }
};

// What the group's keys rank by, from the scores of its heads in ascending order.
__device__ float group_rank(const float* scores, int stride, int heads, SelectionGroup mode) {
  float rank = scores[0];
  for (int h = 1; h < heads; ++h) {
    const float score = scores[h * stride];
    if (mode == SelectionGroup::Sum) {
      rank += score;
    } else if (score > rank) {
      rank = score;
    }
  }
  return rank;
}

template <class T>
struct Score {
  static constexpr int kKeys = kTileKeys<T>;

  const Problem<T>& p;
  const Layout<T> at;
  const Lanes<T> lanes;
  uint8_t* shared;

  __device__ explicit Score(const Problem<T>& problem)
      : p(problem),
        at(problem.head_dim, problem.group),
        lanes(problem.head_dim),
        shared(cuda::dynamic_shared()) {}

  __device__ T* tile(int stage) const {
    return reinterpret_cast<T*>(shared + stage * at.shape.tile_bytes());
  }

  __device__ void load(const Piece& piece, int64_t token, int stage) {
    if (token < piece.end) {
      const int64_t left = piece.end - token;
      load_tile(tile(stage), p.in_page(p.k_pages, piece.b, piece.inner, token),
                left < kKeys ? static_cast<int>(left) : kKeys, at.shape, lanes);
    }
    cuda::copy_async_commit();
  }

  // Scores of one tile to scratch, a warp a head.
  __device__ void write(const Piece& piece, int64_t token, int count, float* scores,
                        Running* running, int32_t* nan) {
    const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp;
    for (int h = static_cast<int>(threadIdx.x) / cuda::kWarp; h < p.group; h += kWarps) {
      float* row = p.scores + (piece.b * p.heads + piece.inner * p.group + h) * p.row + token;
      int32_t found = 0;
      for (int i = lane; i < count; i += cuda::kWarp) {
        const float score = scores[h * kKeys + i];
        row[i] = score;
        found |= score != score ? 1 : 0;
      }
      if (found != 0) nan[h] = 1;
      if (p.visible_max != nullptr) {
        take_scores<false>(running + h, scores + h * kKeys, count, p.scale);
      }
    }
    if (p.ranks == nullptr) return;
    float* ranks = p.ranks + (piece.b * p.kv_heads + piece.inner) * p.row + token;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
      ranks[i] = group_rank(scores + i, kKeys, p.group, p.mode);
    }
  }

  __device__ void run(const Piece& piece) {
    T* queries = reinterpret_cast<T*>(shared + at.queries);
    float* scores = reinterpret_cast<float*>(shared + at.scores);
    Running* running = reinterpret_cast<Running*>(shared + at.running);
    int32_t* nan = reinterpret_cast<int32_t*>(shared + at.nan);
    const int first_head = piece.inner * p.group;
    load(piece, piece.begin, 0);
    load_queries(queries, p.query(piece.b, first_head), p.group, at.rows, at.shape);
    for (int h = static_cast<int>(threadIdx.x); h < at.rows; h += kThreads) {
      running[h] = {-kInfinity, 0.0F};
      nan[h] = 0;
    }
    for (int stage = 0; stage < kStages; ++stage) clear_padding(tile(stage), kKeys, at.shape);
    int stage = 0;
    for (int64_t token = piece.begin; token < piece.end; token += kKeys, stage ^= 1) {
      cuda::copy_async_wait<0>();
      __syncthreads();
      load(piece, token + kKeys, stage ^ 1);
      const int64_t left = piece.end - token;
      score_tile(scores, queries, tile(stage), at.rows, p.group, at.shape);
      __syncthreads();
      write(piece, token, left < kKeys ? static_cast<int>(left) : kKeys, scores, running, nan);
    }
    cuda::copy_async_wait<0>();
    __syncthreads();
    for (int h = static_cast<int>(threadIdx.x); h < p.group; h += kThreads) {
      const int64_t slot = (piece.b * p.heads + first_head + h) * p.splits + piece.index;
      p.nan[slot] = nan[h];
      if (p.visible_max == nullptr) continue;
      p.visible_max[slot] = running[h].max;
      p.visible_sum[slot] = running[h].sum;
    }
    __syncthreads();
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, kResident) score_keys_kernel(Problem<T> p) {
  Score<T> score(p);
  Piece piece;
  for (int64_t item = blockIdx.x;
       find_piece(p, Which::TopK, item, kSplitTokens, p.kv_heads, &piece); item += gridDim.x) {
    score.run(piece);
  }
}

}  // namespace

template <class T>
void score_keys(const Problem<T>& p, Context& ctx) {
  const auto kernel = &score_keys_kernel<T>;
  const int bytes = Layout<T>(p.head_dim, p.group).bytes;
  const cuda::Limits& limits = cuda::limits(ctx);
  cuda::allow_shared_memory(kernel, static_cast<size_t>(bytes));
  const int64_t most = p.sequences * p.splits * p.kv_heads;
  const int64_t resident =
      std::clamp<int64_t>((limits.shared_memory + 1024) / (bytes + 1024), 1, kResident);
  const int64_t blocks = std::min(most, resident * limits.multiprocessors);
  cuda::launch(kernel, cuda::grid_size(blocks), kThreads, static_cast<size_t>(bytes),
               cuda::stream(ctx), p);
}

template void score_keys(const Problem<float>& p, Context& ctx);
template void score_keys(const Problem<BFloat16>& p, Context& ctx);

}  // namespace pivot::decode
