#include <algorithm>

#include "kernels/decode_attention/cuda/space.h"

namespace pivot {
namespace decode {
namespace {

constexpr int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Lengths that keep everything are the first ones: k = n up to some n, and below n from there on.
int64_t longest_kept_whole(const AttentionPolicy& policy, int64_t max_length) {
  if (policy.dense()) return max_length;
  const Budget budget = budget_of(policy);
  int64_t whole = 0, cut = max_length + 1;
  while (cut - whole > 1) {
    const int64_t n = whole + (cut - whole) / 2;
    (budget(n) >= n ? whole : cut) = n;
  }
  return whole;
}

}  // namespace

CudaExtent::CudaExtent(const DecodeAttention& a)
    : sequences(a.qkv.dim(0)),
      heads(a.heads),
      kv_heads(a.kv_heads),
      group(a.heads / a.kv_heads),
      head_dim(a.qkv.dim(2)),
      selections(a.policy.group == SelectionGroup::Head ? a.heads : a.kv_heads),
      splits(std::max<int64_t>(1, divide_up(a.max_length, kSplitTokens))),
      ranges(a.policy.dense() ? 0 : divide_up(a.max_length, kRangeTokens)),
      whole(longest_kept_whole(a.policy, a.max_length)),
      dense_splits(divide_up(whole, kSplitTokens)),
      slots(std::max<int64_t>({1, ranges, dense_splits})),
      row(splits * kSplitTokens) {}

}  // namespace decode

void check(const DecodeAttention& a) {
  PIVOT_CHECK(a.qkv.shape.rank == 3, "qkv must be (B, H + 2 G, D), is {}", to_string(a.qkv.shape));
  expect_real(a.qkv, "qkv");
  PIVOT_CHECK(a.heads > 0 && a.kv_heads > 0 && a.heads % a.kv_heads == 0, "{} heads, {} kv heads",
              a.heads, a.kv_heads);
  PIVOT_CHECK(a.scale > 0, "scale {} must be positive", a.scale);
  const DType real = a.qkv.dtype;
  const int64_t b = a.qkv.dim(0);
  const int64_t d = a.qkv.dim(2);
  expect(a.qkv, real, {b, a.heads + 2 * a.kv_heads, d}, "qkv");
  expect(a.out, real, {b, a.heads, d}, "out");
  expect(a.lse, DType::F32, {b, a.heads}, "lse");
  expect(a.tau, DType::F32, {b, a.heads}, "tau");
  expect(a.jcut, DType::I32, {b, a.heads}, "jcut");
  expect_if_present(a.lse_visible, DType::F32, {b, a.heads}, "lse_visible");
  expect_if_present(a.nan_rows, DType::I32, {1}, "nan_rows");
  PIVOT_CHECK(a.k_pages.shape.rank == 3, "k_pages must be (G, P, D * {}), is {}", kPageTokens,
              to_string(a.k_pages.shape));
  const int64_t pages = a.k_pages.dim(1);
  expect(a.k_pages, real, {a.kv_heads, pages, d * kPageTokens}, "k_pages");
  expect(a.v_pages, real, {a.kv_heads, pages, kPageTokens, d}, "v_pages");
  expect(a.lengths, DType::I32, {b}, "lengths");
  PIVOT_CHECK(a.page_table.shape.rank == 2, "page_table must be (B, S), is {}",
              to_string(a.page_table.shape));
  expect(a.page_table, DType::I32, {b, a.page_table.dim(1)}, "page_table");
  PIVOT_CHECK(a.page_table.dim(1) * kPageTokens >= a.max_length,
              "page_table holds {} pages, {} tokens wanted", a.page_table.dim(1), a.max_length);
}

Cost cost(const DecodeAttention& a) {
  const auto rows = static_cast<double>(a.qkv.dim(0));
  const auto n = static_cast<double>(a.max_length);
  const auto kept =
      static_cast<double>(a.policy.dense() ? a.max_length : budget_of(a.policy)(a.max_length));
  const auto d = static_cast<double>(a.qkv.dim(2));
  const double sets = a.policy.group == SelectionGroup::Head ? a.heads : a.kv_heads;
  const double values = std::min(a.kv_heads * n, sets * kept);
  return {2 * rows * a.heads * d * (n + kept),
          static_cast<double>(dtype_bytes(a.qkv.dtype)) * rows * d * (a.kv_heads * n + values)};
}

size_t cuda_scratch_bytes(const DecodeAttention& a) {
  size_t bytes = 0;
  decode::take_space(a, decode::CudaExtent(a), [&](DType dtype, Shape shape) {
    bytes += scratch_size(dtype, shape.count());
    return Tensor{nullptr, dtype, shape};
  });
  return bytes;
}

}  // namespace pivot
