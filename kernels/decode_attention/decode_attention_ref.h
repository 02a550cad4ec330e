#pragma once
/// decode_attention as its definition reads: every score, one sort, softmax in fp64.

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/attention/order.h"
#include "kernels/attention/score_bits.h"
#include "kernels/decode_attention/decode_attention.h"

namespace pivot::ref {

struct DecodeRow {
  std::vector<double> out;    // (D)
  std::vector<int32_t> kept;  // ascending
  double lse, lse_visible;
  float tau;
  int32_t jcut;
  bool nan;
};

/// How keys lie in a page (decode_attention.h).
enum class PageLayout { Tiles, Rows };

namespace detail {

template <class T>
std::vector<T> query_of(const DecodeAttention& a, int64_t b, int64_t head) {
  const int64_t d = a.qkv.dim(2);
  const T* at = a.qkv.as<T>() + (b * a.qkv.dim(1) + head) * d;
  return {at, at + d};
}

/// Row `token` of sequence b in pages of rows.
template <class T>
std::vector<T> row_of(const DecodeAttention& a, const Tensor& pages, int64_t b, int64_t g,
                      int64_t token) {
  const int64_t d = a.qkv.dim(2);
  const int64_t page = a.page_table.as<int32_t>()[b * a.page_table.dim(1) + token / kPageTokens];
  const T* at = pages.as<T>() + ((g * pages.dim(1) + page) * kPageTokens + token % kPageTokens) * d;
  return {at, at + d};
}

template <class T>
std::vector<T> key_of(const DecodeAttention& a, PageLayout layout, int64_t b, int64_t g,
                      int64_t token) {
  if constexpr (std::is_same_v<T, float>) {
    if (layout == PageLayout::Tiles) {
      const int64_t d = a.qkv.dim(2);
      const int64_t page =
          a.page_table.as<int32_t>()[b * a.page_table.dim(1) + token / kPageTokens];
      std::vector<float> key(static_cast<size_t>(d));
      load_page_key(a.k_pages.as<float>() + (g * a.k_pages.dim(1) + page) * kPageTokens * d,
                    token % kPageTokens, d, key.data());
      return key;
    }
  }
  return row_of<T>(a, a.k_pages, b, g, token);
}

/// The bits by which keys are ranked: in F32 a chain of fused multiply-adds over ascending d, in
/// BF16 steps of the tensor cores.
inline float ranking_score(const std::vector<float>& q, const std::vector<float>& key) {
  float sum = 0;
  for (size_t d = 0; d < key.size(); ++d) sum = std::fma(q[d], key[d], sum);
  return sum;
}
inline float ranking_score(std::vector<BFloat16> q, std::vector<BFloat16> key) {
  const size_t width = (q.size() + 15) / 16 * 16;
  q.resize(width, BFloat16{0});
  key.resize(width, BFloat16{0});
  return mma_dot(q.data(), key.data(), static_cast<int>(width));
}

inline double exactly(float x) {
  return x;
}
inline double exactly(BFloat16 x) {
  return to_float(x);
}

inline double log_sum_exp(const std::vector<double>& x) {
  double top = -std::numeric_limits<double>::infinity();
  for (const double v : x) top = std::max(top, v);
  double sum = 0;
  for (const double v : x) sum += std::exp(v - top);
  return top + std::log(sum);
}

}  // namespace detail

/// One query head of one sequence with at least one key. T is the type of qkv and the pages.
template <class T = float>
DecodeRow decode_attention(const DecodeAttention& a, int64_t b, int64_t head,
                           PageLayout layout = PageLayout::Tiles) {
  const int64_t d = a.qkv.dim(2);
  const int64_t n = a.lengths.as<int32_t>()[b];
  const int64_t group = a.heads / a.kv_heads;
  const int64_t g = head / group;
  const bool shared = !a.policy.dense() && a.policy.group != SelectionGroup::Head;
  const std::vector<T> own = detail::query_of<T>(a, b, head);
  const int64_t ranked = shared ? group : 1;  // heads whose scores rank
  std::vector<std::vector<T>> queries;
  for (int64_t r = 0; r < ranked; ++r) {
    queries.push_back(shared ? detail::query_of<T>(a, b, g * group + r) : own);
  }
  DecodeRow row{};
  std::vector<double> exact(static_cast<size_t>(n));
  std::vector<float> rank(static_cast<size_t>(n));
  const int64_t k = a.policy.dense() ? n : budget_of(a.policy)(n);
  for (int64_t j = 0; j < n; ++j) {
    const std::vector<T> key = detail::key_of<T>(a, layout, b, g, j);
    const auto i = static_cast<size_t>(j);
    for (size_t c = 0; c < key.size(); ++c) {
      exact[i] += detail::exactly(own[c]) * detail::exactly(key[c]);
    }
    exact[i] *= a.scale;
    rank[i] = detail::ranking_score(queries[0], key);
    for (size_t r = 1; r < queries.size(); ++r) {
      const float s = detail::ranking_score(queries[r], key);
      if (a.policy.group == SelectionGroup::Sum) {
        rank[i] += s;
      } else if (!(s <= rank[i])) {
        rank[i] = std::isnan(rank[i]) ? rank[i] : s;
      }
    }
    row.nan = row.nan || std::isnan(rank[i]) || std::isnan(exact[i]);
    if (!a.policy.dense() && is_forced(static_cast<int32_t>(j), 0, static_cast<int32_t>(n - 1),
                                       a.policy.sink, a.policy.recent)) {
      rank[i] = kForcedScore;
    }
  }
  if (row.nan) return row;
  for (int64_t j = 0; j < n; ++j) row.kept.push_back(static_cast<int32_t>(j));
  std::sort(row.kept.begin(), row.kept.end(), [&](int32_t x, int32_t y) {
    return ranks_before(rank[static_cast<size_t>(x)], x, rank[static_cast<size_t>(y)], y);
  });
  row.kept.resize(static_cast<size_t>(k));
  row.jcut = k == n ? static_cast<int32_t>(n - 1) : row.kept.back();
  row.tau =
      k == n ? -std::numeric_limits<float>::infinity() : rank[static_cast<size_t>(row.kept.back())];
  std::sort(row.kept.begin(), row.kept.end());
  std::vector<double> kept_scores;
  for (const int32_t j : row.kept) kept_scores.push_back(exact[static_cast<size_t>(j)]);
  row.lse = detail::log_sum_exp(kept_scores);
  row.lse_visible = detail::log_sum_exp(exact);
  row.out.assign(static_cast<size_t>(d), 0.0);
  for (size_t i = 0; i < row.kept.size(); ++i) {
    const std::vector<T> value = detail::row_of<T>(a, a.v_pages, b, g, row.kept[i]);
    const double p = std::exp(kept_scores[i] - row.lse);
    for (size_t c = 0; c < value.size(); ++c) row.out[c] += p * detail::exactly(value[c]);
  }
  return row;
}

}  // namespace pivot::ref
