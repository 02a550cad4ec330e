// Dense attention: each block keeps the running softmaxes of up to `Heads` query heads of a KV head
// over a split of the keys. Memory-bound: keys and values are read once, 16 bytes a thread, into
// two stages of shared memory, so that loads of one tile pass while the one before is worked on.
// The values are summed in fp32 on the CUDA cores: 4 x 128 fused multiply-adds a key are a tenth of
// what a multiprocessor does while the key arrives.
#include "kernels/decode_attention/cuda/stages.h"
#include "kernels/decode_attention/cuda/tile.cuh"

namespace pivot::decode {
namespace {

constexpr int kStages = 2;
// Blocks of a multiprocessor that registers have room for.
constexpr int kResident = 4;

// Offsets into dynamic shared memory. The sums of the block's end lie where the tiles were.
template <class T, int Heads>
struct Layout {
  RowShape<T> shape;
  int keys, values, queries, scores, running, factors, bytes;

  PIVOT_HD explicit Layout(int head_dim) : shape(head_dim) {
    const int tiles = kStages * shape.tile_bytes();
    const int sums = kThreads * cuda::kLanes<T> * Heads * static_cast<int>(sizeof(float));
    keys = 0;
    values = tiles;
    queries = 2 * tiles > sums ? 2 * tiles : sums;
    scores = queries + kQueryRows * shape.stride * static_cast<int>(sizeof(T));
    running = scores + kQueryRows * kTileKeys<T> * static_cast<int>(sizeof(float));
    factors = running + Heads * static_cast<int>(sizeof(Running));
    bytes = factors + Heads * static_cast<int>(sizeof(float));
  }
};

template <class T, int Heads>
struct Attend {
  static constexpr int kKeys = kTileKeys<T>;
  static constexpr int kColumns = cuda::kLanes<T>;

  const Problem<T>& p;
  const Layout<T, Heads> at;
  const Lanes<T> lanes;
  uint8_t* shared;
  float acc[Heads][kColumns];

  __device__ explicit Attend(const Problem<T>& problem)
      : p(problem), at(problem.head_dim), lanes(problem.head_dim), shared(cuda::dynamic_shared()) {}

  __device__ T* tile(int offset, int stage) const {
    return reinterpret_cast<T*>(shared + offset + stage * at.shape.tile_bytes());
  }
  __device__ float* floats(int offset) const { return reinterpret_cast<float*>(shared + offset); }

  __device__ void load(const Piece& piece, int g, int64_t token, int stage) {
    if (token < piece.end) {
      const int64_t left = piece.end - token;
      const int count = left < kKeys ? static_cast<int>(left) : kKeys;
      load_tile(tile(at.keys, stage), p.in_page(p.k_pages, piece.b, g, token), count, at.shape,
                lanes);
      load_tile(tile(at.values, stage), p.in_page(p.v_pages, piece.b, g, token), count, at.shape,
                lanes);
    }
    cuda::copy_async_commit();
  }

  // acc = factor * acc + weights * values of `count` keys.
  __device__ void add_values(const T* values, int count) {
    if (!lanes.active) return;
    const float* weights = floats(at.scores);
    const float* factors = floats(at.factors);
#pragma unroll
    for (int h = 0; h < Heads; ++h) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) acc[h][i] *= factors[h];
    }
#pragma unroll 2
    for (int key = lanes.first; key < count; key += lanes.step) {
      const cuda::Pack<T> value = cuda::load_pack(values + key * at.shape.stride + lanes.column);
#pragma unroll
      for (int h = 0; h < Heads; ++h) {
        const float weight = weights[h * kKeys + key];
#pragma unroll
        for (int i = 0; i < kColumns; ++i) acc[h][i] = fmaf(weight, value.value[i], acc[h][i]);
      }
    }
  }

  // Sums over the threads that share a column, in the order of their rows, into the partials.
  __device__ void store(const Piece& piece, int first_head, int heads) {
    __syncthreads();
    float* sums = floats(0);
    if (lanes.active) {
#pragma unroll
      for (int h = 0; h < Heads; ++h) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i) {
          sums[(lanes.first * Heads + h) * p.head_dim + lanes.column + i] = acc[h][i];
        }
      }
    }
    __syncthreads();
    const Running* running = reinterpret_cast<const Running*>(shared + at.running);
    for (int i = static_cast<int>(threadIdx.x); i < heads * p.head_dim; i += kThreads) {
      const int h = i / p.head_dim;
      const int64_t slot = (piece.b * p.heads + first_head + h) * p.slots + piece.index;
      float total = 0;
      for (int r = 0; r < lanes.step; ++r) total += sums[r * Heads * p.head_dim + i];
      p.acc[slot * p.head_dim + i % p.head_dim] = total;
      if (i % p.head_dim != 0) continue;
      p.max[slot] = running[h].max;
      p.sum[slot] = running[h].sum;
    }
    __syncthreads();
  }

  __device__ void run(const Piece& piece, int g, int first_head, int heads) {
    T* queries = reinterpret_cast<T*>(shared + at.queries);
    Running* running = reinterpret_cast<Running*>(shared + at.running);
    load(piece, g, piece.begin, 0);
    load_queries(queries, p.query(piece.b, first_head), heads, kQueryRows, at.shape);
    if (threadIdx.x < Heads) {
      running[threadIdx.x] = {-kInfinity, 0.0F};
      floats(at.factors)[threadIdx.x] = 0;
    }
    for (int stage = 0; stage < kStages; ++stage) {
      clear_padding(tile(at.keys, stage), kKeys, at.shape);
    }
#pragma unroll
    for (int h = 0; h < Heads; ++h) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) acc[h][i] = 0;
    }
    int stage = 0;
    for (int64_t token = piece.begin; token < piece.end; token += kKeys, stage ^= 1) {
      cuda::copy_async_wait<0>();
      __syncthreads();
      load(piece, g, token + kKeys, stage ^ 1);
      const int64_t left = piece.end - token;
      const int count = left < kKeys ? static_cast<int>(left) : kKeys;
      float* scores = floats(at.scores);
      score_tile(scores, queries, tile(at.keys, stage), kQueryRows, heads, at.shape);
      __syncthreads();
      for (int h = static_cast<int>(threadIdx.x) / cuda::kWarp; h < heads; h += kWarps) {
        const float factor = take_scores<true>(running + h, scores + h * kKeys, count, p.scale);
        if (threadIdx.x % cuda::kWarp == 0) floats(at.factors)[h] = factor;
      }
      __syncthreads();
      add_values(tile(at.values, stage), count);
    }
    cuda::copy_async_wait<0>();
    store(piece, first_head, heads);
  }
};

template <class T, int Heads>
__global__ void __launch_bounds__(kThreads, kResident) attend_all_kernel(Problem<T> p) {
  const int chunks = (p.group + Heads - 1) / Heads;
  Attend<T, Heads> attend(p);
  Piece piece;
  for (int64_t item = blockIdx.x;
       find_piece(p, Which::Dense, item, kSplitTokens, p.kv_heads * chunks, &piece);
       item += gridDim.x) {
    const int g = piece.inner / chunks;
    const int first = piece.inner % chunks * Heads;
    const int heads = p.group - first < Heads ? p.group - first : Heads;
    attend.run(piece, g, g * p.group + first, heads);
  }
}

template <class T, int Heads>
void launch(const Problem<T>& p, int64_t most_splits, Context& ctx) {
  const auto kernel = &attend_all_kernel<T, Heads>;
  const int bytes = Layout<T, Heads>(p.head_dim).bytes;
  const cuda::Limits& limits = cuda::limits(ctx);
  cuda::allow_shared_memory(kernel, static_cast<size_t>(bytes));
  const int64_t chunks = (p.group + Heads - 1) / Heads;
  const int64_t most = p.sequences * most_splits * p.kv_heads * chunks;
  // As many blocks as fit at once share the work. The system takes 1 KiB of each block.
  const int64_t resident =
      std::clamp<int64_t>((limits.shared_memory + 1024) / (bytes + 1024), 1, kResident);
  const int64_t blocks = std::min(most, resident * limits.multiprocessors);
  cuda::launch(kernel, cuda::grid_size(blocks), kThreads, static_cast<size_t>(bytes),
               cuda::stream(ctx), p);
}

}  // namespace

template <class T>
void attend_all(const Problem<T>& p, int64_t most_splits, Context& ctx) {
  if (p.group <= 4) {
    launch<T, 4>(p, most_splits, ctx);
  } else {
    launch<T, 8>(p, most_splits, ctx);
  }
}

template void attend_all(const Problem<float>& p, int64_t most_splits, Context& ctx);
template void attend_all(const Problem<BFloat16>& p, int64_t most_splits, Context& ctx);

}  // namespace pivot::decode
