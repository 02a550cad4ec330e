#include "tests/simt/tensor_core.h"

#include <cstring>

#include "kernels/attention/score_bits.h"

namespace pivot::simt {
namespace {

void expect_whole_warp(const Meeting& m) {
  if (m.lanes != kAllLanes) fault("lanes of the warp have ended", m.place);
}

struct Factors {
  float* c;
  const uint32_t* a;
  const uint32_t* b;
};

BFloat16 half(uint32_t pair, int index) {
  return {static_cast<uint16_t>(pair >> 16 * index)};
}

void multiply_all(const Meeting& m) {
  expect_whole_warp(m);
  BFloat16 a[16][16];
  BFloat16 b[8][16];  // columns of b
  for (int l = 0; l < kWarp; ++l) {
    const auto& lane = *static_cast<const Factors*>(m.operand[l]);
    const int g = l / 4;
    const int t = l % 4;
    for (int i = 0; i < 2; ++i) {
      for (int upper = 0; upper < 2; ++upper) {
        a[g][2 * t + i + 8 * upper] = half(lane.a[2 * upper], i);
        a[g + 8][2 * t + i + 8 * upper] = half(lane.a[2 * upper + 1], i);
        b[g][2 * t + i + 8 * upper] = half(lane.b[upper], i);
      }
    }
  }
  for (int l = 0; l < kWarp; ++l) {
    float* c = static_cast<const Factors*>(m.operand[l])->c;
    for (int i = 0; i < 4; ++i) {
      c[i] = mma_step(a[l / 4 + 8 * (i / 2)], b[2 * (l % 4) + i % 2], c[i]);
    }
  }
}

struct MatrixRow {
  const uint8_t* row;
  uint32_t* out;
};

// Lane l gets elements {2 (l % 4), + 1} of row l / 4 of every matrix, or of column l / 4.
template <Layout L>
void distribute(const Meeting& m) {
  expect_whole_warp(m);
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t element[8][8];
    for (int r = 0; r < 8; ++r) {
      std::memcpy(element[r], static_cast<const MatrixRow*>(m.operand[8 * matrix + r])->row, 16);
    }
    for (int l = 0; l < kWarp; ++l) {
      const int g = l / 4;
      const int t = 2 * (l % 4);
      const uint32_t low = L == Layout::Rows ? element[g][t] : element[t][g];
      const uint32_t high = L == Layout::Rows ? element[g][t + 1] : element[t + 1][g];
      static_cast<const MatrixRow*>(m.operand[l])->out[matrix] = low | high << 16;
    }
  }
}

}  // namespace

void multiply(float* c, const uint32_t* a, const uint32_t* b, Place place) {
  Factors mine{c, a, b};
  meet(kAllLanes, "mma_16x8x16", &mine, &multiply_all, place);
}

void load_matrices(uint32_t* r, const uint8_t* row, Layout layout, Place place) {
  MatrixRow mine{row, r};
  if (layout == Layout::Rows) {
    meet(kAllLanes, "load_matrix_x4", &mine, &distribute<Layout::Rows>, place);
  } else {
    meet(kAllLanes, "load_matrix_x4_transposed", &mine, &distribute<Layout::Columns>, place);
  }
}

}  // namespace pivot::simt
