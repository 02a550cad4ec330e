#include "kernels/matmul/gemm.h"

#include <algorithm>
#include <limits>

#include <cblas.h>

#include "src/base/check.h"

namespace pivot {
namespace {

// Fewer than 64 rows leave sgemm packing more than multiplying; above 512 nothing is gained. Eight
// blocks keep a few threads evenly busy (2 cores, 2026-11: 1024 x 256 x 768 runs at 96 % of the
// best split).
constexpr int64_t kMinRows = 64;
constexpr int64_t kMaxRows = 512;
constexpr int64_t kBlocks = 8;
// Columns are split only where there are too few rows for kBlocks.
constexpr int64_t kColumns = 512;

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

int to_int(int64_t n) {
  PIVOT_CHECK(n <= std::numeric_limits<int>::max(), "{} is too large for BLAS", n);
  return static_cast<int>(n);
}

CBLAS_TRANSPOSE transpose(Layout layout) {
  return layout == Layout::Plain ? CblasNoTrans : CblasTrans;
}

/// The pool is the only source of threads: a second one inside OpenBLAS would fight it.
void use_one_blas_thread() {
  static const bool done = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

Gemm block_of(const Gemm& g, const GemmBlock& block) {
  Gemm part = g;
  part.m = block.row_end - block.row_begin;
  part.n = block.column_end - block.column_begin;
  part.a += block.row_begin * (g.a_layout == Layout::Plain ? g.a_stride : 1);
  part.b += block.column_begin * (g.b_layout == Layout::Plain ? 1 : g.b_stride);
  part.c += block.row_begin * g.c_stride + block.column_begin;
  return part;
}

}  // namespace

void gemm_serial(const Gemm& g) {
  if (g.m == 0 || g.n == 0) return;
  use_one_blas_thread();
  cblas_sgemm(CblasRowMajor, transpose(g.a_layout), transpose(g.b_layout), to_int(g.m), to_int(g.n),
              to_int(g.k), g.alpha, g.a, to_int(g.a_stride), g.b, to_int(g.b_stride), g.beta, g.c,
              to_int(g.c_stride));
}

void gemm(const Gemm& g, ThreadPool& pool, const std::function<void(const GemmBlock&)>& prepare) {
  if (g.m == 0 || g.n == 0) return;
  const int64_t rows =
      std::clamp(round_up((g.m + kBlocks - 1) / kBlocks, kMinRows), kMinRows, kMaxRows);
  const int64_t row_blocks = (g.m + rows - 1) / rows;
  const int64_t columns = row_blocks >= kBlocks / 2 ? g.n : kColumns;
  const int64_t column_blocks = (g.n + columns - 1) / columns;
  pool.for_each(row_blocks * column_blocks, [&](int64_t item, int) {
    const int64_t row = item / column_blocks * rows;
    const int64_t column = item % column_blocks * columns;
    const GemmBlock block{row, std::min(row + rows, g.m), column, std::min(column + columns, g.n)};
    if (prepare) prepare(block);
    gemm_serial(block_of(g, block));
  });
}

}  // namespace pivot
