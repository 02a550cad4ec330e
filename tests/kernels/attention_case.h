#pragma once
/// Problems for the attention tests, and runs of the kernel on them.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "kernels/attention/attention_ref.h"
#include "kernels/attention/order.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/compare.h"
#include "tests/support/test_context.h"

namespace pivot::test {

struct AttentionCase {
  std::vector<int32_t> lengths = {40};
  int heads = 2;
  int kv_heads = 1;
  int64_t width = 16;
  std::string policy = "dense";

  ref::AttentionProblem problem() const {
    ref::AttentionProblem p;
    p.heads = heads;
    p.kv_heads = kv_heads;
    p.width = width;
    p.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(width)));
    p.policy = parse_policy(policy);
    for (const int32_t length : lengths) p.doc_offsets.push_back(p.doc_offsets.back() + length);
    return p;
  }
  std::string text() const {
    return fmt::format("{} H{} G{} D{} documents {}", policy, heads, kv_heads, width,
                       fmt::join(lengths, " "));
  }
};

inline std::vector<float> normal_values(int64_t count, uint64_t seed) {
  const Philox random(seed, Stream::Test);
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  return values;
}

inline std::vector<float> integer_values(int64_t count, int bound, uint64_t seed) {
  const Philox random(seed, Stream::Test);
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(static_cast<int>(random.below(2 * bound + 1, i)) - bound);
  }
  return values;
}

inline int64_t qkv_count(const ref::AttentionProblem& p) {
  return p.tokens() * (p.heads + 2 * p.kv_heads) * p.width;
}

struct AttentionRun {
  std::vector<float> out, lse, tau, lse_visible, entropy, dqkv;
  std::vector<int32_t> jcut;
  int32_t nan_rows = 0;
  size_t scratch = 0;  // peak of the arena, bytes

  /// Bit for bit; NaN equals NaN.
  bool same(const AttentionRun& other) const {
    const auto equal = [](const auto& a, const auto& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
    };
    return equal(out, other.out) && equal(lse, other.lse) && equal(tau, other.tau) &&
           equal(jcut, other.jcut) && equal(lse_visible, other.lse_visible) &&
           equal(entropy, other.entropy) && equal(dqkv, other.dqkv);
  }
};

enum class Diagnostics { On, Off };

/// Forward and backward; all outputs are NaN or absurd before. max_document is exact unless given.
inline AttentionRun run_attention(const ref::AttentionProblem& p, std::vector<float> qkv,
                                  std::vector<float> dout, int threads = 2,
                                  Diagnostics diagnostics = Diagnostics::On) {
  const int64_t tokens = p.tokens();
  const int64_t rows = tokens * p.heads;
  AttentionRun r;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  r.out.assign(static_cast<size_t>(rows * p.width), nan);
  for (auto* v : {&r.lse, &r.tau, &r.lse_visible, &r.entropy}) {
    v->assign(static_cast<size_t>(rows), nan);
  }
  r.jcut.assign(static_cast<size_t>(rows), -7);
  r.dqkv.assign(qkv.size(), nan);
  std::vector<int32_t> offsets = p.doc_offsets;
  int64_t longest = 0;
  for (size_t i = 1; i < offsets.size(); ++i) {
    longest = std::max<int64_t>(longest, offsets[i] - offsets[i - 1]);
  }
  const Shape by_row{tokens, p.heads};
  const Shape by_query{tokens, p.heads, p.width};
  const Shape all{tokens, p.heads + 2 * p.kv_heads, p.width};
  const bool on = diagnostics == Diagnostics::On;
  TestContext ctx(size_t{1} << 28, threads);
  attention_forward({.out = view(r.out.data(), by_query),
                     .lse = view(r.lse.data(), by_row),
                     .tau = view(r.tau.data(), by_row),
                     .jcut = view(r.jcut.data(), by_row),
                     .lse_visible = on ? view(r.lse_visible.data(), by_row) : Tensor{},
                     .entropy = on ? view(r.entropy.data(), by_row) : Tensor{},
                     .nan_rows = on ? view(&r.nan_rows, {1}) : Tensor{},
                     .qkv = view(qkv.data(), all),
                     .doc_offsets = view(offsets.data(), {static_cast<int64_t>(offsets.size())}),
                     .heads = p.heads,
                     .kv_heads = p.kv_heads,
                     .scale = static_cast<float>(p.scale),
                     .max_document = longest,
                     .policy = p.policy},
                    ctx);
  attention_backward({.dqkv = view(r.dqkv.data(), all),
                      .dout = view(dout.data(), by_query),
                      .out = view(r.out.data(), by_query),
                      .lse = view(r.lse.data(), by_row),
                      .tau = view(r.tau.data(), by_row),
                      .jcut = view(r.jcut.data(), by_row),
                      .qkv = view(qkv.data(), all),
                      .doc_offsets = view(offsets.data(), {static_cast<int64_t>(offsets.size())}),
                      .heads = p.heads,
                      .kv_heads = p.kv_heads,
                      .scale = static_cast<float>(p.scale),
                      .max_document = longest,
                      .policy = p.policy},
                     ctx);
  r.scratch = ctx.arena.peak();
  return r;
}

/// The sets that tau and jcut describe, given the kernel's scores.
inline std::vector<ref::KeptRow> described_sets(const ref::AttentionProblem& p,
                                                const ref::Scores<float>& score,
                                                const AttentionRun& run) {
  std::vector<ref::KeptRow> rows;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads; ++h) {
      ref::KeptRow row;
      const size_t at = rows.size();
      for (int64_t j = p.begin_of(t); j <= t; ++j) {
        const float rank = ref::ranking_score(p, score, t, h, j);
        if (is_kept(rank, static_cast<int32_t>(j), run.tau[at], run.jcut[at])) {
          row.keys.push_back(static_cast<int32_t>(j));
        }
      }
      row.tau = run.tau[at];
      row.jcut = run.jcut[at];
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

/// Sets, tau and jcut of the kernel equal the reference's on the kernel's own scores: no tolerance.
inline void check_sets(const ref::AttentionProblem& p, const std::vector<float>& qkv,
                       const AttentionRun& run) {
  const ref::Scores<float> score = ref::scores_of(p, qkv);
  const std::vector<ref::KeptRow> want = ref::select_kept(p, score);
  const std::vector<ref::KeptRow> got = described_sets(p, score, run);
  int64_t wrong = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const bool same =
        want[i].keys == got[i].keys && want[i].tau == got[i].tau && want[i].jcut == got[i].jcut;
    if (!same && wrong++ == 0) {
      UNSCOPED_INFO("row " << i << ": tau " << got[i].tau << " jcut " << got[i].jcut << " keeps "
                           << got[i].keys.size() << ", reference " << want[i].tau << " "
                           << want[i].jcut << " keeps " << want[i].keys.size());
    }
  }
  CHECK(wrong == 0);
}

/// Values within the derived bounds of the fp64 reference on the same sets.
inline void check_numerics(const ref::AttentionProblem& p, const std::vector<float>& qkv,
                           const std::vector<float>& dout, const AttentionRun& run) {
  const ref::Scores<float> chain = ref::scores_of(p, qkv);
  const std::vector<ref::KeptRow> sets = ref::select_kept(p, chain);
  const auto enclosed = [](const std::vector<float>& values) {
    std::vector<ref::Enclosed> out;
    for (const float x : values) out.emplace_back(static_cast<double>(x));
    return out;
  };
  const std::vector<ref::Enclosed> exact = enclosed(qkv);
  // The scores are products, summed once: the chain's interval is theirs.
  const ref::Scores<ref::Enclosed> scores = ref::scores_of(p, exact);
  const auto result = ref::attention_reference(p, sets, scores, exact);
  const auto gradient = ref::attention_gradient(p, sets, scores, exact, enclosed(dout));
  const Shape rows{p.tokens(), p.heads};
  for (const Comparison& c :
       {compare("out", {p.tokens(), p.heads, p.width}, run.out.data(), result.out),
        compare("lse", rows, run.lse.data(), result.lse),
        compare("lse_visible", rows, run.lse_visible.data(), result.lse_visible),
        compare("entropy", rows, run.entropy.data(), result.entropy),
        compare("dqkv", {p.tokens(), p.heads + 2 * p.kv_heads, p.width}, run.dqkv.data(),
                gradient)}) {
    INFO(c.message);
    CHECK(c.ok);
    CHECK(c.widest < 0.05);
  }
}

}  // namespace pivot::test
