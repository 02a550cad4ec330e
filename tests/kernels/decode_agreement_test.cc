// Training and decoding keep the same keys: decode_attention on every row of a sequence against
// attention_forward on the whole of it.
#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/decode_attention/decode_attention.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"

namespace pivot {
namespace {

struct Heads {
  int heads, kv_heads, head_dim;
};

enum class Values { Normal, Integer };

std::vector<float> random_qkv(int64_t count, Values values) {
  std::vector<float> x(static_cast<size_t>(count));
  const Philox rng(3, Stream::Test);
  for (size_t i = 0; i < x.size(); ++i) {
    const double z = rng.normal(i);
    x[i] = static_cast<float>(values == Values::Integer ? std::round(z) : z);
  }
  return x;
}

// Every row of a document of `length` tokens, one page table that grows.
void compare_rows(const Heads& h, const std::string& spec, int64_t length, Values values,
                  int64_t stride) {
  CAPTURE(h.heads, h.kv_heads, h.head_dim, spec, length);
  test::TestContext ctx;
  const int64_t d = h.head_dim;
  const int64_t width = h.heads + 2 * h.kv_heads;
  std::vector<float> qkv = random_qkv(length * width * d, values);
  const auto rows = static_cast<size_t>(length * h.heads);
  std::vector<float> out(rows * static_cast<size_t>(d)), lse(rows), tau(rows), visible(rows);
  std::vector<int32_t> jcut(rows);
  std::vector<int32_t> offsets = {0, static_cast<int32_t>(length)};
  attention_forward({.out = view(out.data(), {length, h.heads, d}),
                     .lse = view(lse.data(), {length, h.heads}),
                     .tau = view(tau.data(), {length, h.heads}),
                     .jcut = view(jcut.data(), {length, h.heads}),
                     .lse_visible = view(visible.data(), {length, h.heads}),
                     .entropy = {},
                     .nan_rows = {},
                     .qkv = view(qkv.data(), {length, width, d}),
                     .doc_offsets = view(offsets.data(), {2}),
                     .heads = h.heads,
                     .kv_heads = h.kv_heads,
                     .scale = 0.25F,
                     .max_document = length,
                     .policy = parse_policy(spec)},
                    ctx);

  const int64_t pages = (length + kPageTokens - 1) / kPageTokens;
  std::vector<float> keys(static_cast<size_t>(h.kv_heads * pages * kPageTokens * d));
  std::vector<float> cached(keys.size());
  std::vector<int32_t> table;
  for (int64_t p = 0; p < pages; ++p) table.push_back(static_cast<int32_t>(p));
  const size_t one = static_cast<size_t>(h.heads);
  std::vector<float> row_out(one * static_cast<size_t>(d)), row_lse(one), row_tau(one),
      row_all(one);
  std::vector<int32_t> row_jcut(one);
  int64_t wrong_sets = 0;
  float worst_out = 0, worst_lse = 0;
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t g = 0; g < h.kv_heads; ++g) {
      const float* key = qkv.data() + (t * width + h.heads + g) * d;
      const int64_t offset = (g * pages + t / kPageTokens) * kPageTokens * d;
      store_page_tokens({keys.data() + offset, cached.data() + offset}, t % kPageTokens, 1, d, key,
                        key + h.kv_heads * d, d);
    }
    if (t % stride != 0 && t != length - 1) continue;
    auto visible_now = static_cast<int32_t>(t + 1);
    decode_attention({.out = view(row_out.data(), {1, h.heads, d}),
                      .lse = view(row_lse.data(), {1, h.heads}),
                      .tau = view(row_tau.data(), {1, h.heads}),
                      .jcut = view(row_jcut.data(), {1, h.heads}),
                      .lse_visible = view(row_all.data(), {1, h.heads}),
                      .nan_rows = {},
                      .qkv = view(qkv.data() + t * width * d, {1, width, d}),
                      .k_pages = view(keys.data(), {h.kv_heads, pages, d * kPageTokens}),
                      .v_pages = view(cached.data(), {h.kv_heads, pages, kPageTokens, d}),
                      .page_table = view(table.data(), {1, pages}),
                      .lengths = view(&visible_now, {1}),
                      .heads = h.heads,
                      .kv_heads = h.kv_heads,
                      .scale = 0.25F,
                      .max_length = t + 1,
                      .policy = parse_policy(spec)},
                     ctx);
    for (size_t i = 0; i < one; ++i) {
      const size_t at = static_cast<size_t>(t) * one + i;
      wrong_sets += row_tau[i] != tau[at] || row_jcut[i] != jcut[at] ? 1 : 0;
      worst_lse =
          std::max({worst_lse, std::abs(row_lse[i] - lse[at]), std::abs(row_all[i] - visible[at])});
      for (size_t c = 0; c < static_cast<size_t>(d); ++c) {
        worst_out = std::max(worst_out, std::abs(row_out[i * static_cast<size_t>(d) + c] -
                                                 out[at * static_cast<size_t>(d) + c]));
      }
    }
  }
  CHECK(wrong_sets == 0);
  // The scores are the same bits; only sums of at most `length` terms are taken in another order:
  // log2(length) + 8 roundings of weights below 1 and values below 6.
  CHECK(worst_lse < 1e-5F);
  CHECK(worst_out < 1e-5F);
}

}  // namespace

TEST_CASE("decoding keeps the sets of training on every row, for every policy") {
  for (const char* spec :
       {"dense", "topk:k=1", "topk:k=16", "topk:5%", "topk:10%,min=2,max=20", "topk:100%",
        "topk:k=12,sink=3", "topk:k=12,recent=5", "topk:k=12,sink=9,recent=9", "topk:k=7,group=max",
        "topk:4%,group=sum,sink=2,recent=2"}) {
    for (const Values values : {Values::Normal, Values::Integer}) {
      compare_rows({4, 2, 16}, spec, 300, values, 1);
    }
  }
}

TEST_CASE("decoding keeps the sets of training for other head shapes and long rows") {
  compare_rows({1, 1, 64}, "topk:5%", 200, Values::Normal, 1);
  compare_rows({6, 1, 24}, "topk:5%,group=sum", 200, Values::Normal, 1);
  compare_rows({3, 3, 128}, "topk:k=9", 130, Values::Normal, 1);
  compare_rows({2, 1, 32}, "topk:1%", 5000, Values::Normal, 499);
  compare_rows({2, 1, 8}, "topk:2%,group=max", 5000, Values::Integer, 499);
}

}  // namespace pivot
