#pragma once
/// The warp instructions on matrices (kernels/cuda/mma.cuh says who holds what). Compiled without
/// the checks of kernels: these take most of the emulator's time.

#include <cstdint>

#include "tests/simt/engine.h"

namespace pivot::simt {

/// c (16, 8) += a (16, 16) b (16, 8) with the bits of sm_90; c[4], a[4] and b[2] are the lane's.
void multiply(float* c, const uint32_t* a, const uint32_t* b, Place place);

enum class Layout : uint8_t { Rows, Columns };

/// Four 8x8 matrices of 16-bit elements into r[4], as they are or transposed (Columns). `row` are
/// the 16 bytes this lane names: row l % 8 of matrix l / 8.
void load_matrices(uint32_t* r, const uint8_t* row, Layout layout, Place place);

}  // namespace pivot::simt
