#include <algorithm>
#include <cstring>

#include "kernels/matmul/gemm.h"

namespace pivot {
namespace {

// One hardware vector of floats: 16 with AVX-512, 8 with AVX2.
constexpr int kLanes = __BIGGEST_ALIGNMENT__ / 4;
typedef float Vector __attribute__((vector_size(__BIGGEST_ALIGNMENT__)));

// A tile keeps kRows x kOutputs sums in registers: 16 of the 32 that AVX-512 has (a fifth faster
// than 8), 8 of the 16 of AVX2.
constexpr int kOutputs = 4;
constexpr int kMaxRows = 4;
constexpr int kRows = kLanes == 16 ? kMaxRows : 2;
// Outputs of one task: 64 rows of w are 64 KiB at width 256, enough to hide the hand-out.
constexpr int64_t kOutputsPerTask = 64;

Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

/// The first `count` < kLanes numbers, then zeros.
Vector load_part(const float* p, int64_t count) {
  Vector v = {};
  std::memcpy(&v, p, static_cast<size_t>(count) * sizeof(float));
  return v;
}

/// Sum of N numbers, halves onto halves: the order is fixed, and short for the hardware.
template <int N>
float sum_by_halves(const float* x) {
  if constexpr (N == 1) {
    return x[0];
  } else {
    float half[N / 2];
    for (int i = 0; i < N / 2; ++i) half[i] = x[i] + x[i + N / 2];
    return sum_by_halves<N / 2>(half);
  }
}

float lane_sum(Vector v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof(v));
  return sum_by_halves<kLanes>(lanes);
}

/// sum[r][o] += x_r w_o, lane by lane, for one vector of channels.
template <int Rows, int Outputs, class Load>
void add_products(Vector (&sum)[Rows][Outputs], const float* x, const float* w, int64_t width,
                  Load load_vector) {
  Vector in[Rows];
  for (int r = 0; r < Rows; ++r) in[r] = load_vector(x + r * width);
  for (int o = 0; o < Outputs; ++o) {
    const Vector weight = load_vector(w + o * width);
    for (int r = 0; r < Rows; ++r) sum[r][o] += in[r] * weight;
  }
}

/// dots[r][o] = x_r . w_o over `width` channels, always in the same order: lane l sums the channels
/// equal to l modulo kLanes, then the lanes are added.
template <int Rows, int Outputs>
void dot_tile(const float* x, const float* w, int64_t width, float (&dots)[kMaxRows][kOutputs]) {
  Vector sum[Rows][Outputs] = {};
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) add_products(sum, x + i, w + i, width, load);
  if (whole < width) {
    const auto load_rest = [&](const float* p) { return load_part(p, width - whole); };
    add_products(sum, x + whole, w + whole, width, load_rest);
  }
  for (int r = 0; r < Rows; ++r) {
    for (int o = 0; o < Outputs; ++o) dots[r][o] = lane_sum(sum[r][o]);
  }
}

using Tile = void (*)(const float*, const float*, int64_t, float (&)[kMaxRows][kOutputs]);
constexpr Tile kTiles[kMaxRows][kOutputs] = {
    {dot_tile<1, 1>, dot_tile<1, 2>, dot_tile<1, 3>, dot_tile<1, 4>},
    {dot_tile<2, 1>, dot_tile<2, 2>, dot_tile<2, 3>, dot_tile<2, 4>},
    {dot_tile<3, 1>, dot_tile<3, 2>, dot_tile<3, 3>, dot_tile<3, 4>},
    {dot_tile<4, 1>, dot_tile<4, 2>, dot_tile<4, 3>, dot_tile<4, 4>}};

}  // namespace

void few_rows_matmul(const FewRows& g, ThreadPool& pool) {
  pool.for_ranges(g.outputs, kOutputsPerTask, [&](int64_t begin, int64_t end) {
    float dots[kMaxRows][kOutputs];
    for (int64_t o = begin; o < end; o += kOutputs) {
      const int64_t outputs = std::min<int64_t>(kOutputs, end - o);
      for (int64_t n = 0; n < g.rows; n += kRows) {
        const int64_t rows = std::min<int64_t>(kRows, g.rows - n);
        kTiles[rows - 1][outputs - 1](g.x + n * g.inputs, g.w + o * g.inputs, g.inputs, dots);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t j = 0; j < outputs; ++j) {
            const int64_t at = (n + r) * g.outputs + o + j;
            float value = dots[r][j];
            if (g.bias != nullptr) value += g.bias[o + j];
            if (g.residual != nullptr) value += g.residual[at];
            g.y[at] = value;
          }
        }
      }
    }
  });
}

}  // namespace pivot
