#include "kernels/attention/score_tile.h"
#include "kernels/attention/vector.h"
#include "kernels/decode_attention/decode_attention.h"
#include "kernels/decode_attention/page.h"

// The two products that stream the cache. Unlike the blocked products of training they meet every
// key and value once, straight from memory, so they ask for the next page while they work on this
// one: without that, loads and arithmetic take turns (15 instead of 25 GB/s on one core of a Zen 4
// server). Compiled with -ffp-contract=fast, see kernels/attention/vector.h.

namespace pivot::decode {
namespace {

constexpr int kLanes = vector::kNativeLanes;
using Lanes = vector::Vector<kLanes>;

constexpr int64_t kLineFloats = 16;  // of a cache line
// 16 accumulators with AVX-512's 32 registers, 8 with the 16 of AVX2 and SSE.
constexpr int kRowBlock = kLanes >= 16 ? 4 : kLanes == 8 ? 2 : 1;
constexpr int kTilesAtOnce = kLanes >= 16 ? 2 : 1;
constexpr int kColumnVectors = kLanes == 4 ? 8 : 4;

/// Scores of `Rows` queries against kTilesAtOnce tiles.
template <int Rows>
void score_tiles(const float* queries, const float* tiles, const float* next, int64_t width,
                 float* scores) {
  constexpr int kVectors = kTilesAtOnce * kTileKeys / kLanes;
  constexpr int kPerTile = kTileKeys / kLanes;
  Lanes sum[Rows][kVectors] = {};
  for (int64_t d = 0; d < width; ++d) {
    if (next != nullptr) {
      for (int64_t line = 0; line < kTilesAtOnce * kTileKeys; line += kLineFloats) {
        __builtin_prefetch(next + d * kTilesAtOnce * kTileKeys + line);
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      const int64_t tile = v / kPerTile;
      const Lanes keys = vector::load<kLanes>(tiles + tile * width * kTileKeys + d * kTileKeys +
                                              v % kPerTile * kLanes);
      for (int r = 0; r < Rows; ++r) {
        const Lanes q = vector::broadcast<kLanes>(queries[r * width + d]);
        sum[r][v] = vector::fused<kLanes>(q, keys, sum[r][v]);
      }
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      vector::store<kLanes>(scores + r * kPageTokens + v * kLanes, sum[r][v]);
    }
  }
}

/// `Rows` weighted sums of Vectors * kLanes columns of the values.
template <int Rows, int Vectors>
void add_columns(const AddValues& a, int64_t row, int64_t column, const float* next) {
  Lanes sum[Rows][Vectors];
  float* acc = a.acc + row * a.acc_stride + column;
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) {
      sum[r][v] = vector::load<kLanes>(acc + r * a.acc_stride + v * kLanes);
    }
  }
  const float* weights = a.weights + row * a.weight_stride;
  for (int64_t j = 0; j < a.count; ++j) {
    const float* from = a.v + j * a.head_dim + column;
    if (next != nullptr) {
      for (int64_t line = 0; line < Vectors * kLanes; line += kLineFloats) {
        __builtin_prefetch(next + j * a.head_dim + column + line);
      }
    }
    for (int v = 0; v < Vectors; ++v) {
      const Lanes value = vector::load<kLanes>(from + v * kLanes);
      for (int r = 0; r < Rows; ++r) {
        const Lanes weight = vector::broadcast<kLanes>(weights[r * a.weight_stride + j]);
        sum[r][v] = vector::fused<kLanes>(weight, value, sum[r][v]);
      }
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) {
      vector::store<kLanes>(acc + r * a.acc_stride + v * kLanes, sum[r][v]);
    }
  }
}

template <int Rows>
void add_rows(const AddValues& a, int64_t row) {
  const float* next = row == 0 ? a.next : nullptr;
  int64_t column = 0;
  for (; column + kColumnVectors * kLanes <= a.head_dim; column += kColumnVectors * kLanes) {
    add_columns<Rows, kColumnVectors>(a, row, column, next);
  }
  for (; column + kLanes <= a.head_dim; column += kLanes) {
    add_columns<Rows, 1>(a, row, column, next);
  }
  for (int64_t r = row; r < row + Rows; ++r) {
    for (int64_t j = 0; j < a.count; ++j) {
      const float weight = a.weights[r * a.weight_stride + j];
      for (int64_t d = column; d < a.head_dim; ++d) {
        float& sum = a.acc[r * a.acc_stride + d];
        sum = std::fma(weight, a.v[j * a.head_dim + d], sum);
      }
    }
  }
}

}  // namespace

void score_page(const ScorePage& a) {
  const int64_t step = kTilesAtOnce * key_tile_floats(a.head_dim);
  for (int64_t t = 0; t < kPageTokens / kTileKeys; t += kTilesAtOnce) {
    const float* tiles = a.k_page + t * key_tile_floats(a.head_dim);
    const float* next = a.next == nullptr ? nullptr : a.next + t / kTilesAtOnce * step;
    float* scores = a.scores + t * kTileKeys;
    int64_t row = 0;
    for (; row + kRowBlock <= a.rows; row += kRowBlock) {
      score_tiles<kRowBlock>(a.queries + row * a.head_dim, tiles, row == 0 ? next : nullptr,
                             a.head_dim, scores + row * kPageTokens);
    }
    for (; row < a.rows; ++row) {
      score_tiles<1>(a.queries + row * a.head_dim, tiles, row == 0 ? next : nullptr, a.head_dim,
                     scores + row * kPageTokens);
    }
  }
}

void add_values(const AddValues& a) {
  int64_t row = 0;
  for (; row + kRowBlock <= a.rows; row += kRowBlock) add_rows<kRowBlock>(a, row);
  for (; row < a.rows; ++row) add_rows<1>(a, row);
}

}  // namespace pivot::decode
