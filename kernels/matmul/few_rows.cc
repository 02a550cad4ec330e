#include <algorithm>
#include <cstring>

#include "kernels/matmul/gemm.h"

namespace pivot {
namespace {

// One hardware vector of floats: 16 with AVX-512, 8 with AVX2.
constexpr int kLanes = __BIGGEST_ALIGNMENT__ / 4;
typedef float Vector __attribute__((vector_size(__BIGGEST_ALIGNMENT__)));

// A tile keeps kOutputs x kRows sums in registers: 8 of the 16 that AVX2 has.
constexpr int kOutputs = 4;
constexpr int kRows = 2;
// Outputs of one task: 64 rows of w are 64 KiB at width 256, enough to hide the hand-out.
constexpr int64_t kOutputsPerTask = 64;

Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

/// dots[r][o] = x_r . w_o over `width` channels, always in the same order: lane l sums the channels
/// equal to l modulo kLanes, the lanes are added left to right, then the tail.
template <int Rows, int Outputs>
void dot_tile(const float* x, const float* w, int64_t width, float (&dots)[kRows][kOutputs]) {
  Vector sum[Rows][Outputs] = {};
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    Vector in[Rows];
    for (int r = 0; r < Rows; ++r) in[r] = load(x + r * width + i);
    for (int o = 0; o < Outputs; ++o) {
      const Vector weight = load(w + o * width + i);
      for (int r = 0; r < Rows; ++r) sum[r][o] += in[r] * weight;
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int o = 0; o < Outputs; ++o) {
      float total = 0;
      for (int l = 0; l < kLanes; ++l) total += sum[r][o][l];
      for (int64_t i = whole; i < width; ++i) total += x[r * width + i] * w[o * width + i];
      dots[r][o] = total;
    }
  }
}

using Tile = void (*)(const float*, const float*, int64_t, float (&)[kRows][kOutputs]);
constexpr Tile kTiles[kRows][kOutputs] = {
    {dot_tile<1, 1>, dot_tile<1, 2>, dot_tile<1, 3>, dot_tile<1, 4>},
    {dot_tile<2, 1>, dot_tile<2, 2>, dot_tile<2, 3>, dot_tile<2, 4>}};

}  // namespace

void few_rows_matmul(const FewRows& g, ThreadPool& pool) {
  pool.for_ranges(g.outputs, kOutputsPerTask, [&](int64_t begin, int64_t end) {
    float dots[kRows][kOutputs];
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
