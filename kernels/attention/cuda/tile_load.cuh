#pragma once
/// Tiles of consecutive rows of one head, in shared memory, as operands of the tensor cores.
///
/// A tile is (rows, D) bf16. Chunk c (8 channels, 16 bytes) of row r lies at
///   r * 2 D + 16 (c ^ (r % 8))
/// so that eight consecutive rows of one chunk, which a load_matrix reads at once, lie in different
/// banks. Tiles begin at multiples of 256 bytes of shared memory. D is a multiple of 64.
///
/// Operands are named as in mma_16x8x16: a (16, 16), b (16, 8), with the sum over b's rows.

#include <cstdint>

#include "kernels/cuda/mma.cuh"
#include "src/core/dtype.h"

namespace pivot::attention {

inline constexpr int kChunk = 8;  // channels of a 16-byte access

template <int D>
constexpr int tile_bytes(int rows) {
  return rows * D * 2;
}

/// Byte of chunk `chunk` of row `row`.
template <int D>
__device__ __forceinline__ uint32_t tile_offset(int row, int chunk) {
  return static_cast<uint32_t>(row * (2 * D) + 16 * (chunk ^ (row % 8)));
}

/// The rows of one head of a tensor (T, heads, D).
struct HeadRows {
  const BFloat16* first;  // its D channels of row 0
  int64_t stride;         // elements from one row to the next

  __device__ __forceinline__ const BFloat16* row(int64_t r) const { return first + r * stride; }
};
__device__ __forceinline__ HeadRows head_rows(const BFloat16* tensor, int heads, int head,
                                              int width) {
  return {tensor + int64_t{head} * width, int64_t{heads} * width};
}

/// Starts copying rows [first, first + Rows) to the tile at `tile`, by all `Threads` threads of the
/// block (numbered `thread`); rows from `end` on become zeros. At least one of them must lie below
/// `end`. The caller commits and waits.
template <int D, int Rows, int Threads>
__device__ __forceinline__ void load_tile(uint32_t tile, const HeadRows& rows, int64_t first,
                                          int64_t end, int thread) {
  constexpr int kChunks = D / kChunk;
  constexpr int kRowsAtOnce = Threads / kChunks;
  static_assert(Threads % kChunks == 0 && kRowsAtOnce % 8 == 0 && Rows % kRowsAtOnce == 0);
  const int row = thread / kChunks;
  const int chunk = thread % kChunks;
  const int valid = static_cast<int>(end - first < Rows ? end - first : Rows);
  const BFloat16* base = rows.row(first) + chunk * kChunk;
  const BFloat16* from = base + row * rows.stride;
  uint32_t to = tile + tile_offset<D>(row, chunk);
#pragma unroll
  for (int r = 0; r < Rows; r += kRowsAtOnce) {
    const bool inside = row + r < valid;
    cuda::copy_async_16(to, inside ? from : base, inside);
    from += kRowsAtOnce * rows.stride;
    to += kRowsAtOnce * 2 * D;
  }
}

/// Where a lane's addresses begin for the operands below; computed once per lane, for any tile.
/// Matrix m = lane / 8 of a load_matrix covers rows + 8 (m % 2), chunks + m / 2 ("down") or rows +
/// 8 (m / 2), chunks + m % 2 ("across").
template <int D>
__device__ __forceinline__ uint32_t lane_down(int lane) {
  return tile_offset<D>(lane % 16, lane / 16);
}
template <int D>
__device__ __forceinline__ uint32_t lane_across(int lane) {
  return tile_offset<D>(lane / 16 * 8 + lane % 8, lane / 8 % 2);
}

/// Address of rows from `row`, a multiple of 8, and channels from `channel`, a multiple of 16, for
/// `lane`, the result of one of the two functions above.
template <int D>
__device__ __forceinline__ uint32_t operand_address(uint32_t tile, uint32_t lane, int row,
                                                    int channel) {
  return ((tile + lane) ^ static_cast<uint32_t>(2 * channel)) + static_cast<uint32_t>(row * 2 * D);
}

/// a = tile[row .. row + 16, channel .. channel + 16].
template <int D>
__device__ __forceinline__ void load_a(uint32_t (&a)[4], uint32_t tile, int row, int channel,
                                       int lane) {
  cuda::load_matrix_x4(a, operand_address<D>(tile, lane_down<D>(lane), row, channel));
}
/// a = the transpose of tile[row .. row + 16, channel .. channel + 16].
template <int D>
__device__ __forceinline__ void load_a_transposed(uint32_t (&a)[4], uint32_t tile, int row,
                                                  int channel, int lane) {
  cuda::load_matrix_x4_transposed(a, operand_address<D>(tile, lane_across<D>(lane), row, channel));
}
/// Two operands b: {b[0], b[1]} = the transpose of tile[row .. row + 8, channel .. channel + 16],
/// {b[2], b[3]} that of the next 8 rows. (Rows are the result's columns: S = Q K^T.)
template <int D>
__device__ __forceinline__ void load_b_rows(uint32_t (&b)[4], uint32_t tile, int row, int channel,
                                            int lane) {
  cuda::load_matrix_x4(b, operand_address<D>(tile, lane_across<D>(lane), row, channel));
}
/// Two operands b: {b[0], b[1]} = tile[row .. row + 16, channel .. channel + 8], {b[2], b[3]} the
/// next 8 channels. (Channels are the result's columns: O = P V.)
template <int D>
__device__ __forceinline__ void load_b_channels(uint32_t (&b)[4], uint32_t tile, int row,
                                                int channel, int lane) {
  cuda::load_matrix_x4_transposed(b, operand_address<D>(tile, lane_down<D>(lane), row, channel));
}

}  // namespace pivot::attention
