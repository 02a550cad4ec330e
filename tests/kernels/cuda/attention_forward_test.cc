// The tiled attention forward against the definition: sets by sorting the tensor cores' scores,
// values in fp64 on these sets.

#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "kernels/attention/attention_ref.h"
#include "kernels/attention/cuda/paths.h"
#include "kernels/attention/cuda/select.h"
#include "kernels/attention/order.h"
#include "kernels/attention/score_bits.h"
#include "src/base/philox.h"
#include "tests/support/cuda_context.h"

namespace pivot {
namespace {

using attention::SelectTuning;
using test::CudaBuffer;
using test::CudaTestContext;

struct Case {
  std::string policy;
  std::vector<int32_t> lengths = {300};
  int heads = 1;
  int kv_heads = 1;
  int64_t width = 64;

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
};

// Element (row, head of the middle dimension, channel) of a packed tensor.
using Fill = std::function<float(int64_t row, int head, int64_t channel)>;

std::vector<BFloat16> packed(const ref::AttentionProblem& p, const Fill& fill) {
  std::vector<BFloat16> qkv;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads + 2 * p.kv_heads; ++h) {
      for (int64_t d = 0; d < p.width; ++d) qkv.push_back(to_bfloat16(fill(t, h, d)));
    }
  }
  return qkv;
}
Fill normal(uint64_t seed) {
  const Philox random(seed, Stream::Test);
  return [random](int64_t t, int h, int64_t d) {
    return random.normal(static_cast<uint64_t>((t * 64 + h) * 128 + d));
  };
}
Fill integers(int bound, uint64_t seed) {
  const Philox random(seed, Stream::Test);
  return [random, bound](int64_t t, int h, int64_t d) {
    const auto i = static_cast<uint64_t>((t * 64 + h) * 128 + d);
    return static_cast<float>(static_cast<int>(random.below(2 * bound + 1, i)) - bound);
  };
}
// Scores of one head that are `score(key)` exactly, a whole number below 2^15 in size.
Fill scores_are(const ref::AttentionProblem& p, const std::function<int(int64_t key)>& score) {
  const int keys = p.heads;
  const Fill values = normal(5);
  return [=](int64_t t, int h, int64_t d) {
    if (h < keys) return d == 0 ? 128.0F : d == 1 ? 1.0F : 0.0F;
    if (h >= 2 * keys) return values(t, h, d);
    const int s = score(t);
    return static_cast<float>(d == 0 ? s / 128 : d == 1 ? s % 128 : 0);
  };
}

struct Scored {
  ref::AttentionProblem problem;
  std::vector<BFloat16> qkv;
  std::vector<float> scores;  // (T, H, T), of visible pairs
  std::vector<ref::KeptRow> sets;
  std::vector<bool> undefined;  // rows that have to be NaN

  Scored(const Case& c, const Fill& fill) : problem(c.problem()), qkv(packed(problem, fill)) {
    const auto& p = problem;
    const int64_t tokens = p.tokens();
    scores.assign(static_cast<size_t>(tokens * p.heads * tokens), 0);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int h = 0; h < p.heads; ++h) {
        for (int64_t j = p.begin_of(t); j <= t; ++j) {
          scores[at(t, h, j)] = mma_dot(qkv.data() + p.query(t, h), qkv.data() + p.key(j, h),
                                        static_cast<int>(p.width));
        }
      }
    }
    sets = ref::select_kept<float>(p, score());
    for (size_t i = 0; i < sets.size(); ++i) {
      const auto t = static_cast<int64_t>(i) / p.heads;
      const int h = static_cast<int>(i) % p.heads;
      float top = -std::numeric_limits<float>::infinity();
      for (const int32_t j : sets[i].keys) top = std::max(top, scores[at(t, h, j)]);
      undefined.push_back(sets[i].nan || std::isinf(top));
    }
  }
  size_t at(int64_t t, int h, int64_t j) const {
    return static_cast<size_t>((t * problem.heads + h) * problem.tokens() + j);
  }
  ref::Scores<float> score() const {
    return [this](int64_t t, int h, int64_t j) { return scores[at(t, h, j)]; };
  }
};

enum class Extras { Off, On };

struct Run {
  std::vector<BFloat16> out;
  std::vector<float> lse, tau, lse_visible, entropy;
  std::vector<int32_t> jcut;
  int32_t nan_rows = 0;

  bool same(const Run& other) const {
    const auto equal = [](const auto& a, const auto& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
    };
    return equal(out, other.out) && equal(lse, other.lse) && equal(tau, other.tau) &&
           equal(jcut, other.jcut) && nan_rows == other.nan_rows;
  }
};

using Body = std::function<void(const AttentionForward&, Context&)>;

Run run(const ref::AttentionProblem& p, const std::vector<BFloat16>& qkv, const Body& body,
        Extras extras = Extras::Off) {
  CudaTestContext cuda(size_t{1} << 20);
  const int64_t tokens = p.tokens();
  const Shape rows{tokens, p.heads};
  const CudaBuffer out(cuda, DType::BF16, {tokens, p.heads, p.width});
  const CudaBuffer lse(cuda, DType::F32, rows);
  const CudaBuffer tau(cuda, DType::F32, rows);
  const CudaBuffer jcut(cuda, DType::I32, rows);
  const CudaBuffer lse_visible(cuda, DType::F32, rows);
  const CudaBuffer entropy(cuda, DType::F32, rows);
  const CudaBuffer nan_rows(cuda, {1}, std::vector<int32_t>{100});
  const CudaBuffer input(cuda, {tokens, p.heads + 2 * p.kv_heads, p.width}, qkv);
  const CudaBuffer offsets(cuda, {static_cast<int64_t>(p.doc_offsets.size())}, p.doc_offsets);
  int64_t longest = 1;
  for (size_t i = 1; i < p.doc_offsets.size(); ++i) {
    longest = std::max<int64_t>(longest, p.doc_offsets[i] - p.doc_offsets[i - 1]);
  }
  const bool on = extras == Extras::On;
  const AttentionForward a{.out = out,
                           .lse = lse,
                           .tau = tau,
                           .jcut = jcut,
                           .lse_visible = on ? lse_visible.tensor() : Tensor{},
                           .entropy = on ? entropy.tensor() : Tensor{},
                           .nan_rows = nan_rows,
                           .qkv = input,
                           .doc_offsets = offsets,
                           .heads = p.heads,
                           .kv_heads = p.kv_heads,
                           .scale = static_cast<float>(p.scale),
                           .max_document = longest,
                           .policy = p.policy};
  check(a);
  body(a, cuda);
  cuda.synchronize();
  for (const CudaBuffer* b : {&out, &lse, &tau, &jcut, &lse_visible, &entropy, &nan_rows, &input}) {
    CHECK(b->intact());
  }
  CHECK(cuda.arena.used() == 0);
  return {out.download<BFloat16>(),
          lse.download<float>(),
          tau.download<float>(),
          lse_visible.download<float>(),
          entropy.download<float>(),
          jcut.download<int32_t>(),
          nan_rows.download<int32_t>()[0] - 100};
}

Run forward(const ref::AttentionProblem& p, const std::vector<BFloat16>& qkv,
            Extras extras = Extras::Off) {
  return run(
      p, qkv,
      [](const AttentionForward& a, Context& ctx) {
        attention::tiled_forward(a, ctx);
        CHECK(ctx.scratch.peak() == attention::tiled_scratch(a));
      },
      extras);
}

void check_sets(const Scored& s, const Run& got) {
  int64_t wrong = 0;
  for (size_t i = 0; i < s.sets.size(); ++i) {
    const ref::KeptRow& want = s.sets[i];
    if (got.tau[i] == static_cast<float>(want.tau) && got.jcut[i] == want.jcut) continue;
    if (wrong++ == 0) {
      UNSCOPED_INFO("row " << i << ": tau " << got.tau[i] << " jcut " << got.jcut[i] << ", not "
                           << want.tau << " " << want.jcut);
    }
  }
  CHECK(wrong == 0);
}

struct Worst {
  double share = 0;  // of the bound
  std::string text;

  void add(const char* name, size_t i, double got, double want, double bound) {
    const double error = std::abs(got - want);
    if (error <= share * bound) return;
    share = std::isfinite(error) ? error / bound : std::numeric_limits<double>::infinity();
    text = fmt::format("{}[{}] = {}, not {} +- {}", name, i, got, want, bound);
  }
};

// A weight is off by its rounding to bf16, 2^-8, and by the error of its exponent: a few roundings
// of numbers of the size of the scaled scores. A weight below 2^-126 may become zero.
void check_values(const Scored& s, const Run& got, Extras extras = Extras::Off) {
  const ref::AttentionProblem& p = s.problem;
  std::vector<double> qkv;
  std::vector<double> magnitude;
  for (const BFloat16 x : s.qkv) qkv.push_back(static_cast<double>(to_float(x)));
  for (const double x : qkv) magnitude.push_back(std::abs(x));
  const ref::Scores<double> score = [&](int64_t t, int h, int64_t j) {
    return static_cast<double>(s.scores[s.at(t, h, j)]);
  };
  const auto want = ref::attention_reference<double>(p, s.sets, score, qkv);
  const auto spread = ref::attention_reference<double>(p, s.sets, score, magnitude);
  Worst worst;
  int32_t nan_rows = 0;
  int64_t wrong_nan = 0;
  for (size_t row = 0; row < s.sets.size(); ++row) {
    const auto t = static_cast<int64_t>(row) / p.heads;
    const int h = static_cast<int>(row) % p.heads;
    nan_rows += s.undefined[row] ? 1 : 0;
    wrong_nan += std::isnan(got.lse[row]) != s.undefined[row] ? 1 : 0;
    double largest = 1;
    for (int64_t j = p.begin_of(t); j <= t; ++j) {
      const double x = std::abs(p.scale * score(t, h, j));
      if (std::isfinite(x)) largest = std::max(largest, x);
    }
    const auto visible = static_cast<double>(t - p.begin_of(t) + 1);
    const double fine = (8 * largest + visible + 16) * ref::kUnit;
    for (int64_t d = 0; d < p.width; ++d) {
      const size_t i = row * static_cast<size_t>(p.width) + static_cast<size_t>(d);
      const double x = to_float(got.out[i]);
      if (s.undefined[row]) {
        wrong_nan += std::isnan(x) ? 0 : 1;
      } else if (std::isfinite(want.out[i])) {
        const double bound =
            (0x1p-8 + 2 * fine) * spread.out[i] + 0x1p-8 * std::abs(want.out[i]) + 1e-30;
        worst.add("out", i, x, want.out[i], bound);
      } else {
        wrong_nan += std::isfinite(x) ? 1 : 0;
      }
    }
    if (s.undefined[row]) continue;
    worst.add("lse", row, got.lse[row], want.lse[row], fine);
    if (extras == Extras::Off) continue;
    worst.add("lse_visible", row, got.lse_visible[row], want.lse_visible[row], fine);
    worst.add("entropy", row, got.entropy[row], want.entropy[row], 8 * fine * (1 + largest));
  }
  INFO(worst.text);
  CHECK(worst.share <= 1);
  CHECK(wrong_nan == 0);
  CHECK(got.nan_rows == nan_rows);
}

const SelectTuning kTunings[] = {
    {.least_sample = 30},
    {.sample_step = 2, .least_sample = 30, .bins = 16, .list_capacity = 3},
    {.sample_step = 0, .bins = 32, .list_capacity = 1},
};

// All ways of the search on the same scores.
void check_search(const Case& c, const Fill& fill) {
  const Scored s(c, fill);
  for (const SelectTuning& tuning : kTunings) {
    INFO(c.policy << " step " << tuning.sample_step << " bins " << tuning.bins << " list "
                  << tuning.list_capacity);
    const Run got = run(s.problem, s.qkv, [&](const AttentionForward& a, Context& ctx) {
      attention::select_sets(a, tuning, ctx);
    });
    check_sets(s, got);
  }
}

void check_all(const Case& c, const Fill& fill, Extras extras = Extras::Off) {
  INFO(c.policy << " H" << c.heads << " G" << c.kv_heads << " D" << c.width);
  const Scored s(c, fill);
  const Run got = forward(s.problem, s.qkv, extras);
  check_sets(s, got);
  check_values(s, got, extras);
}

TEST_CASE("tiled forward: the cut is found exactly, whatever the scores") {
  for (const char* policy : {"topk:k=1", "topk:k=30", "topk:99%"}) {
    const Case c{.policy = policy, .lengths = {150}};
    const auto p = c.problem();
    check_search(c, normal(1));
    check_search(c, integers(1, 2));
    check_search(c, scores_are(p, [](int64_t) { return 7; }));
    check_search(c, scores_are(p, [](int64_t j) { return j % 2 == 0 ? 5 : -5; }));
    check_search(c, scores_are(p, [](int64_t j) { return static_cast<int>(j); }));
    check_search(c, scores_are(p, [](int64_t j) { return 400 - static_cast<int>(j); }));
    check_search(c, scores_are(p, [](int64_t j) { return j == 17 ? 30000 : j % 5 == 0 ? -1 : 0; }));
  }
}

TEST_CASE("tiled forward: scores that deceive the sample", "[sanitize]") {
  const Case c{.policy = "topk:k=30", .lengths = {128}};
  const auto p = c.problem();
  // With 30 keys of 128 as the least sample, every fourth is taken,
  // from the third on.
  check_search(c, scores_are(p, [](int64_t j) {
                 return static_cast<int>(j % 7) + (j % 4 == 2 ? 1000 : 0);
               }));
  check_search(c, scores_are(p, [](int64_t j) {
                 return static_cast<int>(j % 7) + (j % 4 == 2 ? 0 : 1000);
               }));
  check_search(c, scores_are(p, [](int64_t j) { return j % 4 == 2 ? 3 : static_cast<int>(j); }));
  check_search(c, scores_are(p, [](int64_t j) { return j % 4 == 2 ? static_cast<int>(j) : 3; }));
}

TEST_CASE("tiled forward: zeros of both signs, small and large numbers") {
  for (const char* policy : {"topk:k=1", "topk:k=33"}) {
    const Case c{.policy = policy, .lengths = {128}};
    const Fill random = normal(3);
    const auto one_channel = [&](float query, const std::function<float(int64_t)>& key) -> Fill {
      return [=](int64_t t, int h, int64_t d) {
        if (h == 2) return random(t, h, d);
        if (d > 0) return 0.0F;
        return h == 0 ? query : key(t);
      };
    };
    check_search(c, one_channel(1, [](int64_t j) { return j % 3 == 0 ? 0.0F : -0.0F; }));
    check_search(c, one_channel(-1, [](int64_t j) { return j % 3 == 0 ? 0.0F : j % 9 - 4.0F; }));
    check_search(c, one_channel(0x1p-70F, [](int64_t j) {
                   return 0x1p-72F * static_cast<float>(j % 50 - 25);
                 }));
    check_search(c, one_channel(0x1p60F, [](int64_t j) {
                   return 0x1p60F * static_cast<float>(j % 50 - 25);
                 }));
    check_search(
        c, [&](int64_t t, int h, int64_t d) { return random(t, h, d) * (d == 11 ? 40.0F : 1.0F); });
  }
}

TEST_CASE("tiled forward: values on the kept sets") {
  for (const int64_t width : {int64_t{64}, int64_t{128}}) {
    for (const char* policy : {"dense", "topk:k=20", "topk:10%,min=4", "topk:k=1"}) {
      check_all({.policy = policy, .lengths = {100}, .heads = 2, .width = width}, normal(7),
                Extras::On);
    }
  }
  check_all({.policy = "topk:5%", .lengths = {600}, .width = 128}, normal(8));
}

TEST_CASE("tiled forward: documents of all lengths, packed and alone") {
  Case c{.policy = "topk:k=9", .lengths = {}};
  for (const int32_t n : {1, 2, 0, 8, 9, 10, 15, 63, 64, 65, 127, 128, 129, 130}) {
    c.lengths.push_back(n);
  }
  const Scored s(c, normal(9));
  const Run whole = forward(s.problem, s.qkv);
  check_sets(s, whole);
  check_values(s, whole);
  int64_t begin = 0;
  for (const int32_t n : c.lengths) {
    Case alone = c;
    alone.lengths = {n};
    const int64_t from = begin;
    begin += n;
    const Fill fill = normal(9);
    const auto p = alone.problem();
    Run got =
        forward(p, packed(p, [&](int64_t t, int h, int64_t d) { return fill(from + t, h, d); }));
    for (int32_t& j : got.jcut) j += static_cast<int32_t>(from);
    const auto part = [&](const auto& v, int64_t per) {
      return std::vector(v.begin() + from * per, v.begin() + begin * per);
    };
    CHECK(got.same({part(whole.out, 64),
                    part(whole.lse, 1),
                    part(whole.tau, 1),
                    {},
                    {},
                    part(whole.jcut, 1),
                    0}));
  }
}

TEST_CASE("tiled forward: forced keys", "[sanitize]") {
  for (const char* policy : {"topk:k=12,sink=3,recent=5", "topk:k=6,sink=9", "topk:k=6,recent=70",
                             "topk:5%,sink=70,recent=2", "topk:k=8,sink=4,recent=4"}) {
    check_all({.policy = policy, .lengths = {170, 40}}, normal(10));
    check_search({.policy = policy, .lengths = {120}}, integers(1, 11));
  }
}

TEST_CASE("tiled forward: groups", "[sanitize]") {
  for (const char* policy : {"topk:k=12", "topk:k=12,group=max", "topk:k=12,group=sum,sink=2"}) {
    check_all({.policy = policy, .lengths = {90}, .heads = 3, .kv_heads = 1}, normal(12),
              Extras::On);
    check_all({.policy = policy, .lengths = {70, 20}, .heads = 8, .kv_heads = 2, .width = 128},
              normal(13));
    check_all({.policy = policy, .lengths = {70}, .heads = 2, .kv_heads = 2}, normal(14));
  }
  check_search({.policy = "topk:k=40,group=sum", .lengths = {120}, .heads = 2, .kv_heads = 1},
               integers(1, 15));
  check_search({.policy = "topk:k=40,group=max", .lengths = {120}, .heads = 2, .kv_heads = 1},
               integers(1, 16));
}

TEST_CASE("tiled forward: scores that are not finite") {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Fill random = normal(17);
  for (const char* policy :
       {"dense", "topk:k=5", "topk:k=40", "topk:k=40,group=max", "topk:k=5,group=sum,sink=2"}) {
    for (const int32_t length : {50, 130}) {
      const Case c{.policy = policy, .lengths = {30, length}, .heads = 2, .kv_heads = 1};
      // Key 70 has infinite scores with all queries, key 90 NaN, query 50 is NaN itself.
      const Fill fill = [&](int64_t t, int h, int64_t d) {
        if (h == 2 && t == 70 && d == 3) return inf;
        if (h == 2 && t == 90 && d == 5) return nan;
        if (h == 1 && t == 50 && d == 0) return nan;
        if (h == 0 && t == 60) return d == 3 ? -inf : random(t, h, d);
        return random(t, h, d);
      };
      check_all(c, fill);
      // All keys so negative that their scores are -inf.
      const Fill negative = [&](int64_t t, int h, int64_t d) {
        if (h == 3) return random(t, h, d);
        return d > 0 ? 0.0F : h == 2 ? (t % 11 == 3 ? 1.0F : -inf) : 2.0F;
      };
      check_all(c, negative);
    }
  }
}

TEST_CASE("tiled forward: values that are not finite reach only the rows that keep them") {
  const float inf = std::numeric_limits<float>::infinity();
  const Fill random = normal(18);
  for (const char* policy : {"dense", "topk:k=5", "topk:k=30"}) {
    check_all({.policy = policy, .lengths = {120, 20}, .heads = 2, .kv_heads = 1},
              [&](int64_t t, int h, int64_t d) {
                if (h == 3 && (t == 65 || t == 119) && d % 7 == 3) return inf;
                if (h == 3 && t == 100 && d == 8) return inf - inf;
                return random(t, h, d);
              });
  }
}

TEST_CASE("tiled forward: nothing to do, and the same twice", "[sanitize]") {
  const Case empty{.policy = "topk:k=4", .lengths = {}};
  forward(empty.problem(), {});
  const Case c{.policy = "topk:10%", .lengths = {200}, .heads = 2};
  const Scored s(c, normal(19));
  CHECK(forward(s.problem, s.qkv).same(forward(s.problem, s.qkv)));
  // k = n is dense, bit for bit.
  Case all = c;
  all.policy = "topk:k=200";
  Case dense = c;
  dense.policy = "dense";
  CHECK(forward(all.problem(), s.qkv).same(forward(dense.problem(), s.qkv)));
}

}  // namespace
}  // namespace pivot
