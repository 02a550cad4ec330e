// Training and decoding keep the same keys on CUDA: decode_attention on rows of a sequence against
// attention_forward on the whole of it, tau and jcut bit for bit.
#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/kv_store/kv_store.h"
#include "src/base/philox.h"
#include "tests/support/cuda_context.h"

namespace pivot {
namespace {

struct Heads {
  int heads, kv_heads;
  int64_t head_dim;
};

enum class Values { Normal, Integer };

template <class T>
T number(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return to_bfloat16(x);
  }
}

template <class T>
std::vector<T> random_qkv(int64_t count, Values values) {
  std::vector<T> x;
  const Philox rng(3, Stream::Test);
  for (int64_t i = 0; i < count; ++i) {
    const float z = rng.normal(static_cast<uint64_t>(i));
    x.push_back(number<T>(values == Values::Integer ? std::round(z) : z));
  }
  return x;
}

// The rows asked are the sequences of one call: one cache, of which each sees its own length.
template <class T>
void compare_rows(const Heads& h, const std::string& spec, int64_t length,
                  const std::vector<int32_t>& lengths, Values values = Values::Normal) {
  CAPTURE(h.heads, h.kv_heads, h.head_dim, spec, length, sizeof(T));
  test::CudaTestContext cuda;
  const DType real = DTypeOf<T>::kValue;
  const int64_t width = h.heads + 2 * h.kv_heads;
  const std::vector<T> tokens = random_qkv<T>(length * width * h.head_dim, values);
  const test::CudaBuffer qkv(cuda, {length, width, h.head_dim}, tokens);
  const test::CudaBuffer out(cuda, real, {length, h.heads, h.head_dim}),
      lse(cuda, DType::F32, {length, h.heads}), tau(cuda, DType::F32, {length, h.heads}),
      jcut(cuda, DType::I32, {length, h.heads}),
      offsets(cuda, {2}, std::vector<int32_t>{0, static_cast<int32_t>(length)});
  test::run_twin(&attention_forward_cuda, attention_forward,
                 {.out = out,
                  .lse = lse,
                  .tau = tau,
                  .jcut = jcut,
                  .lse_visible = {},
                  .entropy = {},
                  .nan_rows = {},
                  .qkv = qkv,
                  .doc_offsets = offsets,
                  .heads = h.heads,
                  .kv_heads = h.kv_heads,
                  .scale = 0.25F,
                  .max_document = length,
                  .policy = parse_policy(spec)},
                 cuda);

  const int64_t pages = (length + kPageTokens - 1) / kPageTokens;
  const auto rows = static_cast<int64_t>(lengths.size());
  std::vector<int32_t> positions, table;
  for (int32_t t = 0; t < length; ++t) positions.push_back(t);
  for (int64_t i = 0; i < rows * pages; ++i) table.push_back(static_cast<int32_t>(i % pages));
  std::vector<T> queries;
  for (const int32_t n : lengths) {
    const auto* at = tokens.data() + (n - 1) * width * h.head_dim;
    queries.insert(queries.end(), at, at + width * h.head_dim);
  }
  const test::CudaBuffer keys(cuda, real, {h.kv_heads, pages, h.head_dim * kPageTokens}),
      cached(cuda, real, {h.kv_heads, pages, kPageTokens, h.head_dim}),
      page_table(cuda, {rows, pages}, table), at(cuda, {length}, positions),
      whole(cuda, {1}, std::vector<int32_t>{static_cast<int32_t>(length)}),
      visible(cuda, {rows}, lengths), query(cuda, {rows, width, h.head_dim}, queries);
  test::run_twin(&kv_store_cuda, kv_store,
                 {.k_pages = keys,
                  .v_pages = cached,
                  .qkv = qkv,
                  .positions = at,
                  .page_table = page_table.tensor().rows(0, 1),
                  .lengths = whole,
                  .heads = h.heads,
                  .kv_heads = h.kv_heads},
                 cuda);
  const test::CudaBuffer row_out(cuda, real, {rows, h.heads, h.head_dim}),
      row_lse(cuda, DType::F32, {rows, h.heads}), row_tau(cuda, DType::F32, {rows, h.heads}),
      row_jcut(cuda, DType::I32, {rows, h.heads});
  test::run_twin(&decode_attention_cuda, decode_attention,
                 {.out = row_out,
                  .lse = row_lse,
                  .tau = row_tau,
                  .jcut = row_jcut,
                  .lse_visible = {},
                  .nan_rows = {},
                  .qkv = query,
                  .k_pages = keys,
                  .v_pages = cached,
                  .page_table = page_table,
                  .lengths = visible,
                  .heads = h.heads,
                  .kv_heads = h.kv_heads,
                  .scale = 0.25F,
                  .max_length = length,
                  .policy = parse_policy(spec)},
                 cuda);

  const auto want_tau = tau.download<float>(), got_tau = row_tau.download<float>();
  const auto want_jcut = jcut.download<int32_t>(), got_jcut = row_jcut.download<int32_t>();
  const auto want_lse = lse.download<float>(), got_lse = row_lse.download<float>();
  const auto heads = static_cast<size_t>(h.heads);
  for (size_t r = 0; r < lengths.size(); ++r) {
    for (size_t i = 0; i < heads; ++i) {
      const size_t t = static_cast<size_t>(lengths[r] - 1) * heads + i;
      CAPTURE(lengths[r], i);
      CHECK(got_tau[r * heads + i] == want_tau[t]);
      CHECK(got_jcut[r * heads + i] == want_jcut[t]);
      // The scores are the same bits; sums of weights are taken in another order, and training's
      // exponentials are good to a few 2^-22.
      CHECK(got_lse[r * heads + i] == Approx(want_lse[t]).margin(2e-5));
    }
  }
}

}  // namespace

TEST_CASE("cuda decoding keeps the sets of training, for every policy") {
  const std::vector<int32_t> lengths = {150, 1, 16, 17, 64, 65, 128, 149};
  for (const char* spec :
       {"dense", "topk:k=1", "topk:k=16", "topk:5%", "topk:100%", "topk:k=12,sink=3,recent=5",
        "topk:k=12,sink=9,recent=9", "topk:k=7,group=max", "topk:4%,group=sum,sink=2,recent=2"}) {
    compare_rows<float>({4, 2, 16}, spec, 150, lengths);
    compare_rows<BFloat16>({4, 2, 16}, spec, 150, lengths);
    compare_rows<BFloat16>({2, 1, 64}, spec, 150, lengths);
    compare_rows<BFloat16>({2, 1, 64}, spec, 150, lengths, Values::Integer);
  }
  compare_rows<BFloat16>({1, 1, 128}, "topk:5%", 300, {300, 299, 130});
  compare_rows<BFloat16>({2, 1, 48}, "topk:k=16", 100, {100, 60});
}

}  // namespace pivot
