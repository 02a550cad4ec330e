#include <algorithm>

#include "kernels/embedding/embedding.h"
#include "kernels/embedding/sorted_rows.h"

namespace pivot {
namespace {

constexpr int64_t kRowsPerTask = 64;
// Four cache lines of a row: enough to amortise reading the token, and four tasks at width 256.
constexpr int64_t kColumnsPerTask = 64;

int64_t checked_token(const int32_t* tokens, int64_t n, int64_t vocab) {
  const int32_t token = tokens[n];
  PIVOT_CHECK(token >= 0 && token < vocab, "tokens[{}] is {}, not in [0, {})", n, token, vocab);
  return token;
}

}  // namespace

void check(const EmbeddingForward& a) {
  PIVOT_CHECK(a.table.shape.rank == 2, "table must be (V, C), is {}", to_string(a.table.shape));
  PIVOT_CHECK(a.tokens.shape.rank == 1, "tokens must be (N), is {}", to_string(a.tokens.shape));
  expect(a.tokens, DType::I32, a.tokens.shape, "tokens");
  expect_real(a.table, "table");
  expect(a.y, a.table.dtype, {a.tokens.dim(0), a.table.dim(1)}, "y");
}

Cost cost(const EmbeddingForward& a) {
  return {0, static_cast<double>(2 * a.y.bytes() + a.tokens.bytes())};
}

void embedding_forward_cpu(const EmbeddingForward& a, Context& ctx) {
  const int64_t width = a.table.dim(1);
  const float* table = a.table.as<float>();
  const int32_t* tokens = a.tokens.as<int32_t>();
  float* y = a.y.as<float>();
  ctx.pool.for_ranges(a.tokens.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* row = table + checked_token(tokens, n, a.table.dim(0)) * width;
      std::copy(row, row + width, y + n * width);
    }
  });
}

void check(const EmbeddingBackward& a) {
  PIVOT_CHECK(a.dtable.shape.rank == 2, "dtable must be (V, C), is {}", to_string(a.dtable.shape));
  PIVOT_CHECK(a.tokens.shape.rank == 1, "tokens must be (N), is {}", to_string(a.tokens.shape));
  expect(a.tokens, DType::I32, a.tokens.shape, "tokens");
  expect(a.dtable, DType::F32, a.dtable.shape, "dtable");
  expect_real(a.dy, "dy");
  expect(a.dy, a.dy.dtype, {a.tokens.dim(0), a.dtable.dim(1)}, "dy");
}

Cost cost(const EmbeddingBackward& a) {
  const auto n = static_cast<double>(a.dy.count());
  return {n, 3.0 * static_cast<double>(a.dy.bytes())};
}

size_t cuda_scratch_bytes(const EmbeddingBackward& a) {
  const int64_t count = a.tokens.dim(0);
  return scratch_size(DType::I64, 2 * sorted_keys(count)) +
         scratch_size(DType::F32, 2 * chunk_slots(count) * a.dtable.dim(1));
}

void embedding_backward_cpu(const EmbeddingBackward& a, Context& ctx) {
  const int64_t width = a.dtable.dim(1);
  const float* dy = a.dy.as<float>();
  const int32_t* tokens = a.tokens.as<int32_t>();
  float* dtable = a.dtable.as<float>();
  // Every task walks all rows in order and owns its columns: no two tasks add to one element.
  ctx.pool.for_ranges(width, kColumnsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t n = 0; n < a.tokens.dim(0); ++n) {
      float* row = dtable + checked_token(tokens, n, a.dtable.dim(0)) * width;
      const float* in = dy + n * width;
      for (int64_t c = begin; c < end; ++c) row[c] += in[c];
    }
  });
}

}  // namespace pivot
