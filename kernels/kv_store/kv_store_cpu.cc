#include <algorithm>

#include "kernels/kv_store/kv_store.h"

namespace pivot {
namespace {

// Rows handed out at once: half a page of one KV head, 16 KiB at D = 64.
constexpr int64_t kRowsAtOnce = 32;

}  // namespace

void check(const KvStore& a) {
  PIVOT_CHECK(a.qkv.shape.rank == 3, "qkv must be (N, H + 2 G, D), is {}", to_string(a.qkv.shape));
  expect_real(a.qkv, "qkv");
  const int64_t n = a.qkv.dim(0);
  const int64_t d = a.qkv.dim(2);
  expect(a.qkv, a.qkv.dtype, {n, a.heads + 2 * a.kv_heads, d}, "qkv");
  PIVOT_CHECK(a.k_pages.shape.rank == 3, "k_pages must be (G, P, D * {}), is {}", kPageTokens,
              to_string(a.k_pages.shape));
  const int64_t pages = a.k_pages.dim(1);
  expect(a.k_pages, a.qkv.dtype, {a.kv_heads, pages, d * kPageTokens}, "k_pages");
  expect(a.v_pages, a.qkv.dtype, {a.kv_heads, pages, kPageTokens, d}, "v_pages");
  expect(a.positions, DType::I32, {n}, "positions");
  PIVOT_CHECK(a.page_table.shape.rank == 2, "page_table must be (B, S), is {}",
              to_string(a.page_table.shape));
  const int64_t b = a.page_table.dim(0);
  expect(a.page_table, DType::I32, {b, a.page_table.dim(1)}, "page_table");
  expect(a.lengths, DType::I32, {b}, "lengths");
  PIVOT_CHECK(b == n || b == 1, "{} rows for {} sequences: one each, or all of one", n, b);
}

Cost cost(const KvStore& a) {
  const double elements = 2.0 * static_cast<double>(a.qkv.dim(0) * a.kv_heads * a.qkv.dim(2));
  return {0, 2 * elements * static_cast<double>(dtype_bytes(a.qkv.dtype))};
}

void kv_store_cpu(const KvStore& a, Context& ctx) {
  const int64_t n = a.qkv.dim(0);
  const int64_t d = a.qkv.dim(2);
  const int64_t stride = a.qkv.dim(1) * d;
  const int64_t pages = a.k_pages.dim(1);
  const bool one_each = a.page_table.dim(0) == n;
  const int32_t* positions = a.positions.as<int32_t>();
  const int32_t* lengths = a.lengths.as<int32_t>();
  const int32_t* table = a.page_table.as<int32_t>();
  const auto* qkv = a.qkv.as<float>();
  auto* k_pages = a.k_pages.as<float>();
  auto* v_pages = a.v_pages.as<float>();
  const int64_t parts = (n + kRowsAtOnce - 1) / kRowsAtOnce;
  ctx.pool.for_each(a.kv_heads * parts, [&](int64_t item, int) {
    const int64_t g = item / parts;
    const int64_t first = item % parts * kRowsAtOnce;
    for (int64_t i = first; i < std::min(n, first + kRowsAtOnce); ++i) {
      const int64_t b = one_each ? i : 0;
      if (positions[i] >= lengths[b]) continue;
      const int64_t page = table[b * a.page_table.dim(1) + positions[i] / kPageTokens];
      const int64_t offset = (g * pages + page) * kPageTokens * d;
      const float* key = qkv + i * stride + (a.heads + g) * d;
      store_page_tokens({k_pages + offset, v_pages + offset}, positions[i] % kPageTokens, 1, d, key,
                        key + a.kv_heads * d, stride);
    }
  });
}

}  // namespace pivot
