#include "kernels/attention/gathered_rows.h"

#include <utility>

#include "kernels/attention/vector.h"

namespace pivot {
namespace {

using vector::broadcast;
using vector::fused;
using vector::kNativeLanes;
using vector::load;
using vector::store;
using vector::Vector;

template <int kLanes, size_t... I>
[[gnu::always_inline]] inline Vector<kLanes / 2> fold(Vector<kLanes> v, std::index_sequence<I...>) {
  return __builtin_shufflevector(v, v, I...) + __builtin_shufflevector(v, v, (I + kLanes / 2)...);
}

template <int kLanes>
[[gnu::always_inline]] inline float sum_of(Vector<kLanes> v) {
  if constexpr (kLanes == 2) {
    return v[0] + v[1];
  } else {
    return sum_of<kLanes / 2>(fold<kLanes>(v, std::make_index_sequence<kLanes / 2>{}));
  }
}

// kRows dots side by side hide each other's latency.
template <int kRows>
[[gnu::always_inline]] inline void dots(float* out, const float* a, const GatheredRows& g,
                                        int64_t first) {
  const float* row[kRows];
  for (int r = 0; r < kRows; ++r) row[r] = g.rows + g.index[first + r] * g.stride;
  Vector<kNativeLanes> sum[kRows] = {};
  int c = 0;
  for (; c + kNativeLanes <= g.width; c += kNativeLanes) {
    const Vector<kNativeLanes> left = load<kNativeLanes>(a + c);
    for (int r = 0; r < kRows; ++r) {
      sum[r] = fused<kNativeLanes>(left, load<kNativeLanes>(row[r] + c), sum[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float dot = sum_of<kNativeLanes>(sum[r]);
    for (int tail = c; tail < g.width; ++tail) dot = std::fma(a[tail], row[r][tail], dot);
    out[first + r] = dot;
  }
}

template <int kLanes, int kVectors>
[[gnu::always_inline]] inline void add_columns(float* sum, const float* weight,
                                               const GatheredRows& g, int column) {
  Vector<kLanes> total[kVectors];
  for (int v = 0; v < kVectors; ++v) total[v] = load<kLanes>(sum + column + v * kLanes);
  const float* rows = g.rows + column;
  for (int64_t i = 0; i < g.count; ++i) {
    const float* row = rows + g.index[i] * g.stride;
    const Vector<kLanes> w = broadcast<kLanes>(weight[i]);
    for (int v = 0; v < kVectors; ++v) {
      total[v] = fused<kLanes>(w, load<kLanes>(row + v * kLanes), total[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) store<kLanes>(sum + column + v * kLanes, total[v]);
}

template <int kLanes, int kVectors>
[[gnu::always_inline]] inline void scatter_columns(const ScatteredRows& g, const float* weight,
                                                   const float* a, int column) {
  Vector<kLanes> left[kVectors];
  for (int v = 0; v < kVectors; ++v) left[v] = load<kLanes>(a + column + v * kLanes);
  float* rows = g.rows + column;
  for (int64_t i = 0; i < g.count; ++i) {
    float* row = rows + g.index[i] * g.stride;
    const Vector<kLanes> w = broadcast<kLanes>(weight[i]);
    for (int v = 0; v < kVectors; ++v) {
      store<kLanes>(row + v * kLanes, fused<kLanes>(w, left[v], load<kLanes>(row + v * kLanes)));
    }
  }
}

constexpr int kHalfLanes = kNativeLanes > 8 ? 8 : kNativeLanes;

}  // namespace

void gathered_dots(float* out, const float* a, const GatheredRows& g) {
  int64_t i = 0;
  for (; i + 4 <= g.count; i += 4) dots<4>(out, a, g, i);
  for (; i < g.count; ++i) dots<1>(out, a, g, i);
}

void add_gathered_rows(float* sum, const float* weight, const GatheredRows& g) {
  int column = 0;
  for (; column + 4 * kNativeLanes <= g.width; column += 4 * kNativeLanes) {
    add_columns<kNativeLanes, 4>(sum, weight, g, column);
  }
  for (; column + kNativeLanes <= g.width; column += kNativeLanes) {
    add_columns<kNativeLanes, 1>(sum, weight, g, column);
  }
  for (; column < g.width; column += kHalfLanes) add_columns<kHalfLanes, 1>(sum, weight, g, column);
}

void add_to_rows(const ScatteredRows& g, const float* weight, const float* a) {
  int column = 0;
  for (; column + 4 * kNativeLanes <= g.width; column += 4 * kNativeLanes) {
    scatter_columns<kNativeLanes, 4>(g, weight, a, column);
  }
  for (; column + kNativeLanes <= g.width; column += kNativeLanes) {
    scatter_columns<kNativeLanes, 1>(g, weight, a, column);
  }
  for (; column < g.width; column += kHalfLanes) {
    scatter_columns<kHalfLanes, 1>(g, weight, a, column);
  }
}

}  // namespace pivot
