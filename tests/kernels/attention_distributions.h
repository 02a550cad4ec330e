#pragma once
/// Scores that selections may get wrong.

#include <functional>
#include <vector>

#include "tests/kernels/attention_case.h"

namespace pivot::test {

/// Overwrites the queries (section 0) or keys (section 1) of all tokens.
inline void each_row(const ref::AttentionProblem& p, std::vector<float>& qkv, int section,
                     const std::function<void(int64_t token, float* row)>& body) {
  for (int64_t t = 0; t < p.tokens(); ++t) {
    const int first = section == 0 ? 0 : p.heads;
    const int last = section == 0 ? p.heads : p.heads + p.kv_heads;
    for (int h = first; h < last; ++h) body(t, qkv.data() + p.query(t, h));
  }
}

/// Inputs that are hard for a selection, applied to normal ones.
struct Distribution {
  const char* name;
  std::function<void(const ref::AttentionProblem&, std::vector<float>&)> apply;
  bool tiny =
      false;  // scores below 2^-120, whose last bits the integers of score_bits.h don't have
};

inline std::vector<Distribution> distributions() {
  using Problem = ref::AttentionProblem;
  using Values = std::vector<float>;
  return {
      {"normal", [](const Problem&, Values&) {}},
      {"integers with many ties",
       [](const Problem& p, Values& v) { v = integer_values(qkv_count(p), 1, 31); }},
      {"outlier channels",
       [](const Problem& p, Values& v) {
         each_row(p, v, 0, [](int64_t, float* row) { row[1] *= 40; });
         each_row(p, v, 1, [](int64_t, float* row) { row[1] *= 40; });
       }},
      {"repeated keys",
       [](const Problem& p, Values& v) {
         const Values first = v;
         each_row(p, v, 1, [&](int64_t t, float* row) {
           const int64_t offset = row - v.data() - p.query(t, 0) + p.query(t % 5, 0);
           std::copy(first.begin() + offset, first.begin() + offset + p.width, row);
         });
       }},
      {"constant keys",
       [](const Problem& p, Values& v) {
         each_row(p, v, 1, [&](int64_t, float* row) { std::fill(row, row + p.width, 0.5F); });
       }},
      {"zero queries",
       [](const Problem& p, Values& v) {
         each_row(p, v, 0, [&](int64_t t, float* row) {
           std::fill(row, row + p.width, t % 2 == 0 ? 0.0F : -0.0F);
         });
       }},
      {"rising scores",
       [](const Problem& p, Values& v) {
         each_row(p, v, 0, [&](int64_t, float* row) { std::fill(row, row + p.width, 1.0F); });
         each_row(p, v, 1, [&](int64_t t, float* row) {
           std::fill(row, row + p.width, static_cast<float>(t) - 99.5F);
         });
       }},
      {"falling scores",
       [](const Problem& p, Values& v) {
         each_row(p, v, 0, [&](int64_t, float* row) { std::fill(row, row + p.width, 1.0F); });
         each_row(p, v, 1, [&](int64_t t, float* row) {
           std::fill(row, row + p.width, 99.5F - static_cast<float>(t));
         });
       }},
      {"high scores where a gate is sampled",  // the guess is then too high and has to be noticed
       [](const Problem& p, Values& v) {
         each_row(p, v, 0, [&](int64_t, float* row) { std::fill(row, row + p.width, 1.0F); });
         each_row(p, v, 1, [&](int64_t t, float* row) {
           if (t % 32 >= 16 || t >= 2048) std::fill(row, row + p.width, -9.0F);
         });
       }},
      {"one huge key",
       [](const Problem& p, Values& v) {
         each_row(p, v, 1, [&](int64_t t, float* row) {
           if (t == 7) std::fill(row, row + p.width, 1e15F);
         });
       }},
      {"denormals",
       [](const Problem& p, Values& v) {
         each_row(p, v, 1, [&](int64_t, float* row) {
           for (int64_t d = 0; d < p.width; ++d) row[d] *= 0x1p-140F;
         });
       },
       true},
      {"signed zeros and signs",
       [](const Problem& p, Values& v) {
         each_row(p, v, 0, [&](int64_t, float* row) { std::fill(row, row + p.width, 0x1p-80F); });
         each_row(p, v, 1, [&](int64_t t, float* row) {
           const float key[] = {0x1p-80F, -0x1p-80F, 0.0F, -0.0F, -0x1p-60F};
           std::fill(row, row + p.width, key[t * t % 5]);
         });
       },
       true},
      {"infinite scores",
       [](const Problem& p, Values& v) {
         each_row(p, v, 0, [&](int64_t, float* row) {
           for (int64_t d = 0; d < p.width; ++d) row[d] = std::abs(row[d]) + 1;
         });
         each_row(p, v, 1, [&](int64_t t, float* row) {
           if (t % 9 == 4) std::fill(row, row + p.width, -3e38F);
         });
       }},
  };
}

}  // namespace pivot::test
