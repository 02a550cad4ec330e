#include <algorithm>
#include <cmath>

#include "kernels/attention/attention.h"

namespace pivot {
namespace {

template <class Args>
void check_common(const Args& a) {
  PIVOT_CHECK(a.qkv.shape.rank == 3, "qkv must be (T, H + 2 G, D), is {}", to_string(a.qkv.shape));
  expect_real(a.qkv, "qkv");
  PIVOT_CHECK(a.heads > 0 && a.kv_heads > 0 && a.heads % a.kv_heads == 0,
              "{} query heads do not divide among {} KV heads", a.heads, a.kv_heads);
  const int64_t tokens = a.qkv.dim(0);
  const int64_t width = a.qkv.dim(2);
  expect(a.qkv, a.qkv.dtype, {tokens, a.heads + 2 * a.kv_heads, width}, "qkv");
  PIVOT_CHECK(width > 0 && width % 8 == 0, "head width {} is not a multiple of 8", width);
  // A score of bfloat16 vectors is defined by steps of 16 channels (docs/semantics.md).
  PIVOT_CHECK(a.qkv.dtype == DType::F32 || width % 16 == 0,
              "head width {} is not a multiple of 16, as BF16 needs", width);
  expect(a.out, a.qkv.dtype, {tokens, a.heads, width}, "out");
  expect(a.lse, DType::F32, {tokens, a.heads}, "lse");
  expect(a.tau, DType::F32, {tokens, a.heads}, "tau");
  expect(a.jcut, DType::I32, {tokens, a.heads}, "jcut");
  PIVOT_CHECK(a.doc_offsets.shape.rank == 1 && a.doc_offsets.dim(0) >= 1 &&
                  a.doc_offsets.dtype == DType::I32,
              "doc_offsets must be (n + 1) I32, is {} {}", to_string(a.doc_offsets.shape),
              dtype_name(a.doc_offsets.dtype));
  PIVOT_CHECK(a.scale > 0 && std::isfinite(a.scale), "scale {} is not positive", a.scale);
  PIVOT_CHECK(a.max_document >= (tokens > 0 ? 1 : 0), "max_document {}", a.max_document);
  PIVOT_CHECK(a.policy.dense() || budget_of(a.policy)(1) == 1, "policy {} keeps no key",
              to_string(a.policy));
}

struct Pairs {
  double visible;  // all heads
  double kept;
};

// Pairs of documents of max_document tokens; the mean of k over a document from 256 of its rows.
template <class Args>
Pairs pairs_of(const Args& a) {
  constexpr int64_t kProbes = 256;
  const int64_t tokens = a.qkv.dim(0);
  const int64_t length = std::min(a.max_document, tokens);
  const double rows = static_cast<double>(tokens) * a.heads;
  const double visible = rows * static_cast<double>(length + 1) / 2;
  if (a.policy.dense() || length == 0) return {visible, visible};
  const Budget budget = budget_of(a.policy);
  const int64_t probes = std::min(kProbes, length);
  double kept = 0;
  for (int64_t i = 0; i < probes; ++i) {
    kept += static_cast<double>(budget((2 * i + 1) * length / (2 * probes) + 1));
  }
  return {visible, std::min(visible, rows * kept / static_cast<double>(probes))};
}

}  // namespace

void check(const AttentionForward& a) {
  check_common(a);
  const Shape rows{a.qkv.dim(0), a.heads};
  expect_if_present(a.lse_visible, DType::F32, rows, "lse_visible");
  expect_if_present(a.entropy, DType::F32, rows, "entropy");
  expect_if_present(a.nan_rows, DType::I32, {1}, "nan_rows");
}

Cost cost(const AttentionForward& a) {
  const Pairs pairs = pairs_of(a);
  const auto width = static_cast<double>(a.qkv.dim(2));
  return {2 * width * (pairs.visible + pairs.kept),
          static_cast<double>(a.qkv.bytes() + a.out.bytes() + 3 * a.lse.bytes())};
}

void check(const AttentionBackward& a) {
  check_common(a);
  expect(a.dqkv, a.qkv.dtype, a.qkv.shape, "dqkv");
  expect(a.dout, a.qkv.dtype, a.out.shape, "dout");
}

Cost cost(const AttentionBackward& a) {
  const Pairs pairs = pairs_of(a);
  const auto width = static_cast<double>(a.qkv.dim(2));
  return {2 * width * (pairs.visible + 4 * pairs.kept),
          static_cast<double>(2 * (a.qkv.bytes() + a.out.bytes()) + 3 * a.lse.bytes())};
}

}  // namespace pivot
