#pragma once
/// Reference of causal attention with exact Top-k: O(T^2), one row at a time, nothing shared with
/// the kernels but the budget. S is float (ranking of given fp32 scores), double, or Enclosed.

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/enclosed.h"

namespace pivot::ref {

struct AttentionProblem {
  int heads = 1;
  int kv_heads = 1;
  int64_t width = 8;
  double scale = 1;
  AttentionPolicy policy;
  std::vector<int32_t> doc_offsets = {0};

  int64_t tokens() const { return doc_offsets.back(); }
  int group() const { return heads / kv_heads; }
  int64_t begin_of(int64_t t) const {
    int64_t begin = 0;
    for (const int32_t offset : doc_offsets) begin = offset <= t ? offset : begin;
    return begin;
  }
  /// Offsets in (T, H + 2 G, D).
  int64_t query(int64_t t, int h) const { return (t * (heads + 2 * kv_heads) + h) * width; }
  int64_t key(int64_t t, int h) const { return query(t, heads + h / group()); }
  int64_t value(int64_t t, int h) const { return query(t, heads + kv_heads + h / group()); }
};

/// The score of query t of head h with key j.
template <class S>
using Scores = std::function<S(int64_t t, int h, int64_t j)>;

/// The sum of products, for S = float the chain of fused multiply-adds in ascending order.
template <class S>
Scores<S> scores_of(const AttentionProblem& p, const std::vector<S>& qkv) {
  return [&p, &qkv](int64_t t, int h, int64_t j) {
    const S* q = qkv.data() + p.query(t, h);
    const S* k = qkv.data() + p.key(j, h);
    if constexpr (std::is_same_v<S, float>) {
      float s = 0;
      for (int64_t d = 0; d < p.width; ++d) s = std::fma(q[d], k[d], s);
      return s;
    } else {
      return sum(
          p.width, [&](int64_t d) { return q[d] * k[d]; }, S(0));
    }
  };
}

/// The kept keys of row (t, h), ascending; rows are numbered t * H + h.
struct KeptRow {
  std::vector<int32_t> keys;
  double tau = 0;
  int32_t jcut = 0;
  bool nan = false;  // a visible score is NaN: all keys are listed
};

/// What a key ranks by, for the set of head h.
template <class S>
S ranking_score(const AttentionProblem& p, const Scores<S>& score, int64_t t, int h, int64_t j) {
  const int first = h / p.group() * p.group();
  S rank = score(t, p.policy.group == SelectionGroup::Head ? h : first, j);
  if (p.policy.group != SelectionGroup::Head) {
    for (int other = first + 1; other < first + p.group(); ++other) {
      const S s = score(t, other, j);
      if (p.policy.group == SelectionGroup::Sum) {
        rank = rank + s;
      } else if (s > rank || std::isnan(s)) {
        rank = s;
      }
    }
  }
  const bool forced = j - p.begin_of(t) < p.policy.sink || t - j < p.policy.recent;
  return forced && !std::isnan(rank) ? std::numeric_limits<S>::infinity() : rank;
}

/// The definition of the kept set of row (t, h), by sorting.
template <class S>
KeptRow select_row(const AttentionProblem& p, const Scores<S>& score, int64_t t, int h) {
  const int64_t begin = p.begin_of(t);
  const int64_t n = t - begin + 1;
  const int64_t k = p.policy.dense() ? n : budget_of(p.policy)(n);
  std::vector<std::pair<S, int32_t>> ranked;
  KeptRow row;
  for (int64_t j = begin; j <= t; ++j) {
    ranked.emplace_back(ranking_score(p, score, t, h, j), static_cast<int32_t>(j));
    row.nan = row.nan || std::isnan(ranked.back().first);
  }
  const int64_t kept = row.nan ? n : k;
  if (!row.nan) {
    std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
      return a.first > b.first || (a.first == b.first && a.second < b.second);
    });
  }
  for (int64_t i = 0; i < kept; ++i) row.keys.push_back(ranked[i].second);
  row.tau = kept == n ? -std::numeric_limits<double>::infinity()
                      : static_cast<double>(ranked[kept - 1].first);
  row.jcut = kept == n ? static_cast<int32_t>(t) : ranked[kept - 1].second;
  std::sort(row.keys.begin(), row.keys.end());
  return row;
}

/// Of all rows.
template <class S>
std::vector<KeptRow> select_kept(const AttentionProblem& p, const Scores<S>& score) {
  std::vector<KeptRow> rows;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads; ++h) rows.push_back(select_row(p, score, t, h));
  }
  return rows;
}

template <class S>
struct AttentionResult {
  std::vector<S> out;  // (T, H, D)
  std::vector<S> lse;  // (T, H), as the two below
  std::vector<S> lse_visible;
  std::vector<S> entropy;
};

/// lse and probabilities of a row over `keys`.
template <class S>
S softmax_row(const AttentionProblem& p, const Scores<S>& score, int64_t t, int h,
              const std::vector<int32_t>& keys, std::vector<S>& probability) {
  const auto n = static_cast<int64_t>(keys.size());
  std::vector<S> x;
  for (const int32_t j : keys) x.push_back(S(p.scale) * score(t, h, j));
  S max = x[0];
  for (const S& value : x) max = larger(max, value);
  probability.clear();
  for (const S& value : x) probability.push_back(exponential(value - max));
  const S total = sum(
      n, [&](int64_t i) { return probability[i]; }, S(0));
  for (S& value : probability) value = value / total;
  return max + logarithm(total);
}

template <class S>
AttentionResult<S> attention_reference(const AttentionProblem& p, const std::vector<KeptRow>& sets,
                                       const Scores<S>& score, const std::vector<S>& qkv) {
  AttentionResult<S> r;
  std::vector<S> probability;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads; ++h) {
      std::vector<int32_t> visible;
      for (int64_t j = p.begin_of(t); j <= t; ++j) visible.push_back(static_cast<int32_t>(j));
      r.lse_visible.push_back(softmax_row(p, score, t, h, visible, probability));
      const std::vector<int32_t>& keys = sets[t * p.heads + h].keys;
      const auto n = static_cast<int64_t>(keys.size());
      r.lse.push_back(softmax_row(p, score, t, h, keys, probability));
      const S lse = r.lse.back();
      const S mean = sum(
          n, [&](int64_t i) { return probability[i] * (S(p.scale) * score(t, h, keys[i]) - lse); },
          S(0));
      r.entropy.push_back(-mean);
      for (int64_t d = 0; d < p.width; ++d) {
        const auto term = [&](int64_t i) { return probability[i] * qkv[p.value(keys[i], h) + d]; };
        r.out.push_back(sum(n, term, S(0)));
      }
    }
  }
  return r;
}

/// (T, H + 2 G, D): gradient of sum(dout * out) with the sets held fixed.
template <class S>
std::vector<S> attention_gradient(const AttentionProblem& p, const std::vector<KeptRow>& sets,
                                  const Scores<S>& score, const std::vector<S>& qkv,
                                  const std::vector<S>& dout) {
  std::vector<std::vector<S>> terms(qkv.size());
  std::vector<S> probability;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads; ++h) {
      const std::vector<int32_t>& keys = sets[t * p.heads + h].keys;
      const auto n = static_cast<int64_t>(keys.size());
      softmax_row(p, score, t, h, keys, probability);
      const S* g = dout.data() + (t * p.heads + h) * p.width;
      const auto dp = [&](int64_t i) {
        const S* v = qkv.data() + p.value(keys[i], h);
        return sum(
            p.width, [&](int64_t d) { return g[d] * v[d]; }, S(0));
      };
      const S delta = sum(
          n, [&](int64_t i) { return probability[i] * dp(i); }, S(0));
      for (int64_t i = 0; i < n; ++i) {
        const S ds = S(p.scale) * (probability[i] * (dp(i) - delta));
        for (int64_t d = 0; d < p.width; ++d) {
          terms[p.query(t, h) + d].push_back(ds * qkv[p.key(keys[i], h) + d]);
          terms[p.key(keys[i], h) + d].push_back(ds * qkv[p.query(t, h) + d]);
          terms[p.value(keys[i], h) + d].push_back(probability[i] * g[d]);
        }
      }
    }
  }
  std::vector<S> dqkv;
  for (const std::vector<S>& term : terms) {
    dqkv.push_back(sum(
        static_cast<int64_t>(term.size()), [&](int64_t i) { return term[i]; }, S(0)));
  }
  return dqkv;
}

}  // namespace pivot::ref
