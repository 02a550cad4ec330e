#pragma once
/// Emulated: see the header of the same name in kernels/cuda.

#include <cstdint>
#include <cstring>

#include "kernels/attention/score_bits.h"
#include "kernels/cuda/convert.cuh"
#include "tests/simt/engine.h"

namespace pivot::cuda {

/// Distance from the dynamic shared memory: static arrays are in the same program's data.
inline uint32_t shared_address(const void* pointer) {
  const auto base = reinterpret_cast<intptr_t>(simt::dynamic_shared());
  return static_cast<uint32_t>(reinterpret_cast<intptr_t>(pointer) - base);
}

/// `bytes` of shared memory at a multiple of 16 inside what the block has.
inline uint8_t* shared_pointer(uint32_t address, size_t bytes, simt::Place place) {
  if (address % 16 != 0) simt::fault("an address that is not a multiple of 16", place);
  if (address < simt::kMaxShared && address + bytes > simt::dynamic_shared_bytes()) {
    simt::fault("an address outside the block's shared memory", place);
  }
  return simt::dynamic_shared() + static_cast<int32_t>(address);
}

struct MmaOperand {
  float* c;
  const uint32_t* a;
  uint32_t b[2];
};
inline BFloat16 half(uint32_t pair, int index) {
  return {static_cast<uint16_t>(pair >> 16 * index)};
}
/// Both operands as rows of 16, from where the lanes hold them.
struct MmaRows {
  BFloat16 a[16][16];
  BFloat16 b[8][16];  // columns of b

  explicit MmaRows(const simt::Meeting& m) {
    for (int l = 0; l < simt::kWarp; ++l) {
      const auto& lane = *static_cast<const MmaOperand*>(m.operand[l]);
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
  }
};

inline void expect_whole_warp(const simt::Meeting& m) {
  if (m.lanes != simt::kAllLanes) simt::fault("lanes of the warp have ended", m.place);
}

inline void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                        simt::Place place = simt::Place::current()) {
  MmaOperand mine{c, a, {b0, b1}};
  simt::meet(
      simt::kAllLanes, "mma_16x8x16", &mine,
      [](const simt::Meeting& m) {
        expect_whole_warp(m);
        const MmaRows rows(m);
        for (int l = 0; l < simt::kWarp; ++l) {
          float* out = static_cast<MmaOperand*>(m.operand[l])->c;
          for (int i = 0; i < 4; ++i) {
            out[i] = mma_step(rows.a[l / 4 + 8 * (i / 2)], rows.b[2 * (l % 4) + i % 2], out[i]);
          }
        }
      },
      place);
}

struct MatrixOperand {
  const uint8_t* row;
  uint32_t* out;
};
/// Lane l gets elements {2 (l % 4), + 1} of row l / 4 of every matrix, or of column l / 4.
template <bool Transposed>
void distribute_matrices(const simt::Meeting& m) {
  expect_whole_warp(m);
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t element[8][8];
    for (int r = 0; r < 8; ++r) {
      std::memcpy(element[r], static_cast<MatrixOperand*>(m.operand[8 * matrix + r])->row, 16);
    }
    for (int l = 0; l < simt::kWarp; ++l) {
      const int g = l / 4;
      const int t = 2 * (l % 4);
      const uint32_t low = Transposed ? element[t][g] : element[g][t];
      const uint32_t high = Transposed ? element[t + 1][g] : element[g][t + 1];
      static_cast<MatrixOperand*>(m.operand[l])->out[matrix] = low | high << 16;
    }
  }
}
inline void load_matrix_x4(uint32_t (&r)[4], uint32_t address,
                           simt::Place place = simt::Place::current()) {
  MatrixOperand mine{shared_pointer(address, 16, place), r};
  simt::meet(simt::kAllLanes, "load_matrix_x4", &mine, &distribute_matrices<false>, place);
}
inline void load_matrix_x4_transposed(uint32_t (&r)[4], uint32_t address,
                                      simt::Place place = simt::Place::current()) {
  MatrixOperand mine{shared_pointer(address, 16, place), r};
  simt::meet(simt::kAllLanes, "load_matrix_x4_transposed", &mine, &distribute_matrices<true>,
             place);
}

inline void copy_async_16(uint32_t to, const void* from, bool valid,
                          simt::Place place = simt::Place::current()) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) {
    simt::fault("copy_async_16 from an address that is not a multiple of 16", place);
  }
  simt::begin_copy(
      {shared_pointer(to, 16, place), valid ? static_cast<const uint8_t*>(from) : nullptr, 16});
}
inline void copy_async_commit() {
  simt::commit_copies();
}
template <int Pending>
void copy_async_wait() {
  simt::wait_for_copies(Pending);
}

}  // namespace pivot::cuda
