#pragma once
/// Single-precision matrix products on the CPU: OpenBLAS, one thread per block, blocks handed to
/// the pool. Block sizes depend on the shape alone, so the bits do not depend on the number of
/// threads.

#include <cstdint>
#include <functional>

#include "src/base/parallel.h"

namespace pivot {

enum class Layout { Plain, Transposed };

/// c (M, N) = alpha op(a) op(b) + beta c, row-major. op(a) is (M, K): stored (M, K) if Plain, (K,
/// M) if Transposed; op(b) is (K, N) likewise. Strides are between stored rows, in elements.
struct Gemm {
  int64_t m, n, k;
  const float* a;
  int64_t a_stride;
  Layout a_layout;
  const float* b;
  int64_t b_stride;
  Layout b_layout;
  float* c;
  int64_t c_stride;
  float beta;  // 0: c is overwritten without being read
  float alpha = 1.0F;
};

/// A rectangle of c.
struct GemmBlock {
  int64_t row_begin, row_end;
  int64_t column_begin, column_end;
};

/// One sgemm on the calling thread.
void gemm_serial(const Gemm& g);

/// The whole product, in parallel. `prepare`, if set, runs before each block of c is computed, on
/// the same thread: it may write what beta then adds to.
void gemm(const Gemm& g, ThreadPool& pool,
          const std::function<void(const GemmBlock&)>& prepare = {});

/// Up to so many rows matmul_forward takes few_rows_matmul: one pass over w costs as much as the
/// arithmetic (sgemm is level at 12 to 16 rows of width 256, behind at 1024).
inline constexpr int64_t kFewRows = 16;

/// Products of few rows (decoding): y (N, O) = x (N, I) w (O, I)^T + bias + residual.
/// One pass over w at the speed of memory. A row's bits do not depend on N.
struct FewRows {
  int64_t rows, inputs, outputs;
  const float* x;
  const float* w;
  const float* bias;      // (O) or null
  const float* residual;  // (N, O) or null; may be y
  float* y;
};
void few_rows_matmul(const FewRows& g, ThreadPool& pool);

}  // namespace pivot
