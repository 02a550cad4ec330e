#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/order.h"
#include "kernels/attention_union/attention_union.h"

namespace pivot {
namespace {

// The score bits of kernels/attention/score_tile.h.
float score(const float* q, const float* k, int64_t width) {
  float s = 0;
  for (int64_t d = 0; d < width; ++d) s = std::fma(q[d], k[d], s);
  return s;
}

struct Sets {
  const AttentionUnion& a;
  int64_t width, stride;

  bool keeps(int64_t row, int64_t head, int64_t key, int64_t begin) const {
    const float* qkv = a.qkv.as<float>();
    const int64_t kv = a.heads + head / (a.heads / a.kv_heads);
    const auto j = static_cast<int32_t>(key);
    const bool forced = is_forced(j, static_cast<int32_t>(begin), static_cast<int32_t>(row),
                                  a.policy.sink, a.policy.recent);
    const float s =
        forced ? kForcedScore
               : score(qkv + row * stride + head * width, qkv + key * stride + kv * width, width);
    const int64_t at = row * a.heads + head;
    return is_kept(s, j, a.tau.as<float>()[at], a.jcut.as<int32_t>()[at]);
  }
};

}  // namespace

void check(const AttentionUnion& a) {
  PIVOT_CHECK(a.qkv.shape.rank == 3, "qkv must be (T, H + 2 G, D), is {}", to_string(a.qkv.shape));
  expect_real(a.qkv, "qkv");
  PIVOT_CHECK(a.heads > 0 && a.kv_heads > 0 && a.heads % a.kv_heads == 0,
              "{} query heads do not divide among {} KV heads", a.heads, a.kv_heads);
  const int64_t tokens = a.qkv.dim(0);
  expect(a.qkv, a.qkv.dtype, {tokens, a.heads + 2 * a.kv_heads, a.qkv.dim(2)}, "qkv");
  expect(a.tau, DType::F32, {tokens, a.heads}, "tau");
  expect(a.jcut, DType::I32, {tokens, a.heads}, "jcut");
  expect(a.share, DType::F32, {(tokens + kUnionRows - 1) / kUnionRows, a.heads}, "share");
  PIVOT_CHECK(a.policy.group == SelectionGroup::Head, "the union of {} is not measured",
              to_string(a.policy));
}

Cost cost(const AttentionUnion& a) {
  const auto tokens = static_cast<double>(a.qkv.dim(0));
  return {tokens * tokens * a.heads * static_cast<double>(a.qkv.dim(2)),
          static_cast<double>(a.qkv.bytes() + a.tau.bytes() + a.jcut.bytes())};
}

void attention_union_cpu(const AttentionUnion& a, Context& ctx) {
  const Sets sets{a, a.qkv.dim(2), a.qkv.dim(1) * a.qkv.dim(2)};
  float* share = a.share.as<float>();
  std::fill(share, share + a.share.count(), std::numeric_limits<float>::quiet_NaN());
  const int32_t* offsets = a.doc_offsets.as<int32_t>();
  for (int64_t d = 0; d + 1 < a.doc_offsets.dim(0); ++d) {
    const int64_t begin = offsets[d];
    const int64_t tiles = (offsets[d + 1] - begin) / kUnionRows;
    ctx.pool.for_each(tiles * a.heads, [&](int64_t item, int) {
      const int64_t head = item % a.heads;
      const int64_t first = begin + item / a.heads * kUnionRows;
      const int64_t last = first + kUnionRows - 1;
      int64_t united = 0;
      for (int64_t key = begin; key <= last; ++key) {
        bool any = false;
        for (int64_t row = std::max(first, key); row <= last && !any; ++row) {
          any = sets.keeps(row, head, key, begin);
        }
        united += static_cast<int64_t>(any);
      }
      share[first / kUnionRows * a.heads + head] =
          static_cast<float>(united) / static_cast<float>(last - begin + 1);
    });
  }
}

}  // namespace pivot
