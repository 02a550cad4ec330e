#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/logit_chunks.h"
#include "kernels/matmul/gemm.h"
#include "kernels/vec_math.h"

namespace pivot {
namespace {

// A chunk of logits stays in the last-level cache where the vocabulary allows; below 128 rows the
// two passes over w weigh more than the traffic saved.
constexpr int64_t kChunkLogits = int64_t{4} << 20;
constexpr int64_t kMinChunk = 128;
constexpr int64_t kMaxChunk = 512;
constexpr int64_t kRowsPerTask = 4;
// Partial sums of this many terms are added in double: the error does not grow with the vocabulary.
constexpr int64_t kSumBlock = 512;

int64_t chunk_rows(const LinearCrossEntropy& a) {
  const int64_t fitting = kChunkLogits / std::max<int64_t>(1, a.w.dim(0)) / 64 * 64;
  return std::min(a.x.dim(0), std::clamp(fitting, kMinChunk, kMaxChunk));
}

/// Memory of one chunk. Rows without a target are left out: the chunk's rows are `rows[0..count)`
/// of x.
struct Chunk {
  const int32_t* rows;
  int64_t count;
  float* logits;    // (count, V)
  float* gathered;  // (chunk_rows, C) copy of scattered rows of x
  float* dx;        // (chunk_rows, C)

  bool contiguous() const { return rows[count - 1] - rows[0] + 1 == count; }
};

/// Returns logsumexp(z) - z[target]. If `scale` is not null, z becomes scale * (softmax(z) -
/// onehot).
float softmax_row(float* z, int64_t vocab, int32_t target, const float* scale) {
  float largest = z[0];
#pragma omp simd reduction(max : largest)
  for (int64_t v = 0; v < vocab; ++v) largest = z[v] > largest ? z[v] : largest;
  const float target_logit = z[target];
  double total = 0;
  for (int64_t begin = 0; begin < vocab; begin += kSumBlock) {
    const int64_t end = std::min(vocab, begin + kSumBlock);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t v = begin; v < end; ++v) {
      const float e = vec_exp(z[v] - largest);
      z[v] = e;
      sum += e;
    }
    total += static_cast<double>(sum);
  }
  if (scale != nullptr) {
    const auto factor = static_cast<float>(static_cast<double>(*scale) / total);
#pragma omp simd
    for (int64_t v = 0; v < vocab; ++v) z[v] *= factor;
    z[target] -= *scale;
  }
  // The difference first: near a perfect prediction both terms are small, the logits are not.
  return static_cast<float>(static_cast<double>(largest) - static_cast<double>(target_logit) +
                            std::log(total));
}

/// The chunk's rows of x, where they lie if they are neighbours, else copied together.
const float* chunk_inputs(const LinearCrossEntropy& a, const Chunk& chunk, ThreadPool& pool) {
  const int64_t width = a.x.dim(1);
  const float* x = a.x.as<float>();
  if (chunk.contiguous()) return x + chunk.rows[0] * width;
  pool.for_ranges(chunk.count, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = x + chunk.rows[i] * width;
      std::copy(row, row + width, chunk.gathered + i * width);
    }
  });
  return chunk.gathered;
}

/// dx = dz w, dw += dz^T x unless absent, with dz where the logits were.
void chunk_gradients(const LinearCrossEntropy& a, const Chunk& chunk, const float* x,
                     ThreadPool& pool) {
  const int64_t vocab = a.w.dim(0);
  const int64_t width = a.w.dim(1);
  float* dx = a.dx.as<float>();
  float* out = chunk.contiguous() ? dx + chunk.rows[0] * width : chunk.dx;
  gemm({.m = chunk.count,
        .n = width,
        .k = vocab,
        .a = chunk.logits,
        .a_stride = vocab,
        .a_layout = Layout::Plain,
        .b = a.w.as<float>(),
        .b_stride = width,
        .b_layout = Layout::Plain,
        .c = out,
        .c_stride = width,
        .beta = 0.0F},
       pool);
  if (a.dw.present()) {
    gemm({.m = vocab,
          .n = width,
          .k = chunk.count,
          .a = chunk.logits,
          .a_stride = vocab,
          .a_layout = Layout::Transposed,
          .b = x,
          .b_stride = width,
          .b_layout = Layout::Plain,
          .c = a.dw.as<float>(),
          .c_stride = width,
          .beta = 1.0F},
         pool);
  }
  if (chunk.contiguous()) return;
  for (int64_t i = 0; i < chunk.count; ++i) {
    std::copy(out + i * width, out + (i + 1) * width, dx + chunk.rows[i] * width);
  }
}

void run_chunk(const LinearCrossEntropy& a, const Chunk& chunk, ThreadPool& pool) {
  const int64_t vocab = a.w.dim(0);
  const int64_t width = a.w.dim(1);
  const int32_t* targets = a.targets.as<int32_t>();
  float* loss = a.loss.as<float>();
  const float* x = chunk_inputs(a, chunk, pool);
  gemm({.m = chunk.count,
        .n = vocab,
        .k = width,
        .a = x,
        .a_stride = width,
        .a_layout = Layout::Plain,
        .b = a.w.as<float>(),
        .b_stride = width,
        .b_layout = Layout::Transposed,
        .c = chunk.logits,
        .c_stride = vocab,
        .beta = 0.0F},
       pool);
  const float* scale = a.dx.present() ? &a.grad_scale : nullptr;
  pool.for_ranges(chunk.count, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = chunk.rows[i];
      loss[n] = softmax_row(chunk.logits + i * vocab, vocab, targets[n], scale);
    }
  });
  if (a.dx.present()) chunk_gradients(a, chunk, x, pool);
}

}  // namespace

void check(const LinearCrossEntropy& a) {
  PIVOT_CHECK(a.x.shape.rank == 2 && a.w.shape.rank == 2,
              "x must be (N, C) and w (V, C), are {}, {}", to_string(a.x.shape),
              to_string(a.w.shape));
  const int64_t rows = a.x.dim(0);
  expect_real(a.x, "x");
  expect(a.w, a.x.dtype, {a.w.dim(0), a.x.dim(1)}, "w");
  expect(a.loss, DType::F32, {rows}, "loss");
  expect(a.targets, DType::I32, {rows}, "targets");
  PIVOT_CHECK(a.dx.present() || !a.dw.present(), "dw needs dx");
  expect_if_present(a.dx, a.x.dtype, a.x.shape, "dx");
  expect_if_present(a.dw, DType::F32, a.w.shape, "dw");
}

Cost cost(const LinearCrossEntropy& a) {
  const auto logits = static_cast<double>(a.x.dim(0)) * static_cast<double>(a.w.dim(0));
  const double products = logits * static_cast<double>(a.x.dim(1));
  const int passes = 1 + (a.dx.present() ? 1 : 0) + (a.dw.present() ? 1 : 0);
  return {2 * passes * products + 6 * logits,
          static_cast<double>(a.x.bytes() + a.w.bytes() + a.dx.bytes() + 2 * a.dw.bytes())};
}

size_t scratch_bytes(const LinearCrossEntropy& a, int) {
  const int64_t rows = chunk_rows(a);
  return scratch_size(DType::I32, a.x.dim(0)) + scratch_size(DType::F32, rows * a.w.dim(0)) +
         2 * scratch_size(DType::F32, rows * a.x.dim(1));
}

size_t cuda_scratch_bytes(const LinearCrossEntropy& a) {
  if (a.x.dim(0) == 0) return 0;
  const LogitChunks chunks = logit_chunks(a);
  return scratch_size(a.x.dtype, chunks.rows * chunks.stride);
}

void linear_cross_entropy_cpu(const LinearCrossEntropy& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  const int64_t vocab = a.w.dim(0);
  const int64_t width = a.x.dim(1);
  const int64_t step = chunk_rows(a);
  const int32_t* targets = a.targets.as<int32_t>();
  const Arena::Scope scope = ctx.scratch.scope();
  auto* valid = ctx.scratch.tensor(DType::I32, {rows}).as<int32_t>();
  int64_t count = 0;
  for (int64_t n = 0; n < rows; ++n) {
    if (targets[n] == kIgnoreTarget) continue;
    PIVOT_CHECK(targets[n] >= 0 && targets[n] < vocab, "targets[{}] is {}, not in [0, {})", n,
                targets[n], vocab);
    valid[count++] = static_cast<int32_t>(n);
  }
  if (count < rows) {
    fill_zero(a.loss, ctx);
    if (a.dx.present()) fill_zero(a.dx, ctx);
  }
  Chunk chunk{};
  chunk.logits = ctx.scratch.tensor(DType::F32, {step, vocab}).as<float>();
  chunk.gathered = ctx.scratch.tensor(DType::F32, {step, width}).as<float>();
  chunk.dx = ctx.scratch.tensor(DType::F32, {step, width}).as<float>();
  for (int64_t begin = 0; begin < count; begin += step) {
    chunk.rows = valid + begin;
    chunk.count = std::min(step, count - begin);
    run_chunk(a, chunk, ctx.pool);
  }
}

}  // namespace pivot
