#pragma once
/// What results of attention are checked against, on any device and in F32 or BF16: the definition
/// of the sets on the device's score bits (computed here, without tolerance), and values within
/// bounds that are derived row by row, so that a sample of the rows of a long sequence can be
/// checked as well as all rows of a short one.

#include <set>

#include "kernels/attention/score_bits.h"
#include "tests/kernels/attention_case.h"

namespace pivot::test {

/// A problem and its numbers, all of them exact in `dtype`.
struct AttentionInputs {
  ref::AttentionProblem problem;
  DType dtype;
  std::vector<float> qkv;   // (T, H + 2 G, D)
  std::vector<float> dout;  // (T, H, D)

  AttentionInputs(ref::AttentionProblem p, DType type, std::vector<float> qkv_values,
                  std::vector<float> dout_values)
      : problem(std::move(p)),
        dtype(type),
        qkv(std::move(qkv_values)),
        dout(std::move(dout_values)) {
    if (dtype != DType::BF16) return;
    for (auto* values : {&qkv, &dout}) {
      for (float& x : *values) x = to_float(to_bfloat16(x));
    }
  }
  /// Normal numbers.
  AttentionInputs(const ref::AttentionProblem& p, DType type, uint64_t seed)
      : AttentionInputs(p, type, normal_values(qkv_count(p), seed),
                        normal_values(p.tokens() * p.heads * p.width, seed + 1)) {}

  int64_t rows() const { return problem.tokens() * problem.heads; }
  Shape by_row() const { return {problem.tokens(), problem.heads}; }
  Shape by_query() const { return {problem.tokens(), problem.heads, problem.width}; }
  Shape by_token() const {
    return {problem.tokens(), problem.heads + 2 * problem.kv_heads, problem.width};
  }
};

/// Where a kernel rounds besides fp32 arithmetic. bfloat16 has 8 significant bits: 2^-8 relative.
struct AttentionPrecision {
  double weights = 0;           // P and dS before their matrix products
  bool score_bits = true;       // scores have the bits of docs/semantics.md; else only their bound
  bool head_gradients = false;  // dk and dv of every query head, before a group's are added up
};
inline constexpr double kBf16Unit = 0x1p-8;
inline constexpr AttentionPrecision kNaivePrecision = {};
inline constexpr AttentionPrecision kTiledPrecision = {.weights = kBf16Unit};
inline constexpr AttentionPrecision kCudnnPrecision = {
    .weights = kBf16Unit, .score_bits = false, .head_gradients = true};

/// Computes single rows of the reference from the inputs, and of the gradients also from what
/// forward left (out, lse, tau, jcut), which they are a function of.
class AttentionReference {
 public:
  using Enclosed = ref::Enclosed;

  AttentionReference(const AttentionInputs& in, AttentionPrecision precision)
      : in_(in), p_(in.problem), precision_(precision) {
    if (in.dtype != DType::BF16) return;
    for (const float x : in.qkv) bits_.push_back(to_bfloat16(x));
  }

  /// The score's bits on the device.
  float score(int64_t t, int h, int64_t j) const {
    const int64_t q = p_.query(t, h);
    const int64_t k = p_.key(j, h);
    if (!bits_.empty()) return mma_dot(&bits_[q], &bits_[k], static_cast<int>(p_.width));
    float s = 0;
    for (int64_t d = 0; d < p_.width; ++d) s = std::fma(in_.qkv[q + d], in_.qkv[k + d], s);
    return s;
  }
  ref::KeptRow select(int64_t t, int h) const { return ref::select_row<float>(p_, scores(), t, h); }

  struct Forward {
    std::vector<Enclosed> out;  // (D)
    Enclosed lse, lse_visible, entropy;
  };
  Forward forward(int64_t t, int h, const std::vector<int32_t>& kept) const;

  /// Whether (tau, jcut) of the run keep key j in row (t, h).
  bool keeps(const AttentionRun& run, int64_t t, int h, int64_t j) const {
    const size_t row = static_cast<size_t>(t * p_.heads + h);
    if (run.jcut[row] == t && run.tau[row] == -std::numeric_limits<float>::infinity()) return true;
    const float rank = ref::ranking_score<float>(p_, scores(), t, h, j);
    return is_kept(rank, static_cast<int32_t>(j), run.tau[row], run.jcut[row]);
  }
  std::vector<Enclosed> query_gradient(const AttentionRun& run, int64_t t, int h) const;
  struct KeyGradient {
    std::vector<Enclosed> dkey, dvalue;  // (D)
  };
  KeyGradient key_gradient(const AttentionRun& run, int64_t j, int kv_head) const;

 private:
  // The part of `heads` query heads.
  KeyGradient key_gradient(const AttentionRun& run, int64_t j, int first_head, int heads) const;
  ref::Scores<float> scores() const {
    return [this](int64_t t, int h, int64_t j) { return score(t, h, j); };
  }
  // The score as far as the kernel's is known. A tensor core's step rounds by at most 10 units of
  // the sum of magnitudes, that is 0.625 units a channel, less than the (D + 1) units of a sum.
  Enclosed enclosed_score(int64_t t, int h, int64_t j) const {
    if (precision_.score_bits) return Enclosed(score(t, h, j));
    return products(in_.qkv.data() + p_.query(t, h), in_.qkv.data() + p_.key(j, h));
  }
  Enclosed products(const float* a, const float* b) const {
    const auto term = [&](int64_t d) { return Enclosed(double{a[d]} * b[d]); };
    return ref::sum(p_.width, term, Enclosed());
  }
  Enclosed rounded_weight(const Enclosed& x) const {
    return precision_.weights > 0 ? ref::widened(x.v, x.lo, x.hi, precision_.weights) : x;
  }
  // As stored: below bfloat16's normal numbers the error is absolute.
  Enclosed stored(const Enclosed& x) const {
    if (in_.dtype != DType::BF16) return x;
    const Enclosed w = ref::widened(x.v, x.lo, x.hi, kBf16Unit);
    return {w.v, w.lo - 0x1p-134, w.hi + 0x1p-134};
  }
  // sum of weight[i] * row_of(i)[d] for each d.
  template <class RowOf>
  std::vector<Enclosed> weighted_rows(const std::vector<Enclosed>& weight,
                                      const RowOf& row_of) const;
  struct Pair {
    Enclosed p, ds;
  };
  Pair pair(const AttentionRun& run, int64_t t, int h, int64_t j) const;

  const AttentionInputs& in_;
  const ref::AttentionProblem& p_;
  AttentionPrecision precision_;
  std::vector<BFloat16> bits_;
};

template <class RowOf>
std::vector<ref::Enclosed> AttentionReference::weighted_rows(const std::vector<Enclosed>& weight,
                                                             const RowOf& row_of) const {
  std::vector<Enclosed> rows;
  const auto count = static_cast<int64_t>(weight.size());
  for (int64_t d = 0; d < p_.width; ++d) {
    const auto term = [&](int64_t i) {
      return weight[static_cast<size_t>(i)] * Enclosed(row_of(i)[d]);
    };
    rows.push_back(stored(ref::sum(count, term, Enclosed())));
  }
  return rows;
}

inline AttentionReference::Forward AttentionReference::forward(
    int64_t t, int h, const std::vector<int32_t>& kept) const {
  const auto softmax = [&](const std::vector<Enclosed>& x, std::vector<Enclosed>& e) {
    Enclosed max = x[0];
    for (const Enclosed& value : x) max = ref::larger(max, value);
    e.clear();
    for (const Enclosed& value : x) e.push_back(ref::exponential(value - max));
    const auto term = [&](int64_t i) { return e[static_cast<size_t>(i)]; };
    const Enclosed total = ref::sum(static_cast<int64_t>(e.size()), term, Enclosed());
    for (Enclosed& value : e) value = value / total;
    return max + ref::logarithm(total);
  };
  const Enclosed scale(p_.scale);
  std::vector<Enclosed> x;
  std::vector<Enclosed> probability;
  for (int64_t j = p_.begin_of(t); j <= t; ++j) x.push_back(scale * enclosed_score(t, h, j));
  Forward r;
  r.lse_visible = softmax(x, probability);
  std::vector<Enclosed> kept_x;
  for (const int32_t j : kept) kept_x.push_back(x[static_cast<size_t>(j - p_.begin_of(t))]);
  r.lse = softmax(kept_x, probability);
  const auto moment = [&](int64_t i) {
    const Enclosed& value = kept_x[static_cast<size_t>(i)];
    return std::isinf(value.v) ? Enclosed()  // 0 ln 0
                               : probability[static_cast<size_t>(i)] * (value - r.lse);
  };
  r.entropy = -ref::sum(static_cast<int64_t>(kept.size()), moment, Enclosed());
  for (Enclosed& value : probability) value = rounded_weight(value);
  r.out = weighted_rows(probability, [&](int64_t i) {
    return in_.qkv.data() + p_.value(kept[static_cast<size_t>(i)], h);
  });
  return r;
}

inline AttentionReference::Pair AttentionReference::pair(const AttentionRun& run, int64_t t, int h,
                                                         int64_t j) const {
  const int64_t row = t * p_.heads + h;
  const float* dout = in_.dout.data() + row * p_.width;
  const Enclosed lse(run.lse[static_cast<size_t>(row)]);
  const Enclosed p = ref::exponential(Enclosed(p_.scale) * enclosed_score(t, h, j) - lse);
  const Enclosed dp = products(dout, in_.qkv.data() + p_.value(j, h));
  const Enclosed delta = products(dout, run.out.data() + row * p_.width);
  return {rounded_weight(p), rounded_weight(Enclosed(p_.scale) * (p * (dp - delta)))};
}

inline std::vector<ref::Enclosed> AttentionReference::query_gradient(const AttentionRun& run,
                                                                     int64_t t, int h) const {
  std::vector<Enclosed> ds;
  std::vector<const float*> keys;
  for (int64_t j = p_.begin_of(t); j <= t; ++j) {
    if (!keeps(run, t, h, j)) continue;
    ds.push_back(pair(run, t, h, j).ds);
    keys.push_back(in_.qkv.data() + p_.key(j, h));
  }
  return weighted_rows(ds, [&](int64_t i) { return keys[static_cast<size_t>(i)]; });
}

inline AttentionReference::KeyGradient AttentionReference::key_gradient(const AttentionRun& run,
                                                                        int64_t j,
                                                                        int kv_head) const {
  const int first = kv_head * p_.group();
  if (!precision_.head_gradients || p_.group() == 1) {
    return key_gradient(run, j, first, p_.group());
  }
  std::vector<KeyGradient> of_head;
  for (int h = 0; h < p_.group(); ++h) of_head.push_back(key_gradient(run, j, first + h, 1));
  KeyGradient sums;
  for (int64_t d = 0; d < p_.width; ++d) {
    const auto add_up = [&](std::vector<Enclosed> KeyGradient::*part) {
      const auto term = [&](int64_t h) {
        return (of_head[static_cast<size_t>(h)].*part)[static_cast<size_t>(d)];
      };
      return stored(ref::sum(p_.group(), term, Enclosed()));
    };
    sums.dkey.push_back(add_up(&KeyGradient::dkey));
    sums.dvalue.push_back(add_up(&KeyGradient::dvalue));
  }
  return sums;
}

inline AttentionReference::KeyGradient AttentionReference::key_gradient(const AttentionRun& run,
                                                                        int64_t j, int first_head,
                                                                        int heads) const {
  std::vector<Enclosed> ds, p;
  std::vector<const float*> queries, douts;
  for (int64_t t = j; t < p_.tokens() && p_.begin_of(t) <= j; ++t) {
    for (int h = first_head; h < first_head + heads; ++h) {
      if (!keeps(run, t, h, j)) continue;
      const Pair pair_of_j = pair(run, t, h, j);
      ds.push_back(pair_of_j.ds);
      p.push_back(pair_of_j.p);
      queries.push_back(in_.qkv.data() + p_.query(t, h));
      douts.push_back(in_.dout.data() + (t * p_.heads + h) * p_.width);
    }
  }
  return {weighted_rows(ds, [&](int64_t i) { return queries[static_cast<size_t>(i)]; }),
          weighted_rows(p, [&](int64_t i) { return douts[static_cast<size_t>(i)]; })};
}

/// Collects comparisons of one tensor's rows; at its end they must all hold.
class RowChecks {
 public:
  explicit RowChecks(std::string name) : name_(std::move(name)) {}

  void add(const std::string& row, const float* got, const std::vector<ref::Enclosed>& want) {
    const Comparison c = compare(name_ + row, {static_cast<int64_t>(want.size())}, got, want);
    for (const ref::Enclosed& w : want) {
      if (!std::isfinite(w.v)) continue;
      magnitude_ = std::max(magnitude_, std::abs(w.v));
      if (std::isfinite(w.lo) && std::isfinite(w.hi)) {
        bound_ = std::max(bound_, 2 * std::max(w.v - w.lo, w.hi - w.v));
      }
    }
    if (c.worst < worst_) return;
    worst_ = c.worst;
    message_ = c.message;
  }
  void add(const std::string& row, float got, const ref::Enclosed& want) {
    add(row, &got, std::vector<ref::Enclosed>{want});
  }
  /// `widest`: largest bound that still says something, relative to the largest value (to 1, where
  /// all cancel to less: inputs are of that size).
  void finish(double widest) const {
    const double size = std::max(magnitude_, 1.0);
    INFO(message_ << "; over all rows " << bound_ / size);
    CHECK(worst_ <= 1);
    CHECK(bound_ <= widest * size);
  }
  double worst() const { return worst_; }

 private:
  std::string name_, message_;
  double worst_ = 0;
  double bound_ = 0;
  double magnitude_ = 0;
};

/// Tokens whose rows are checked: all, or about `most` of them: the ends of documents, neighbours
/// of tile boundaries, and others at random.
inline std::vector<int64_t> sampled_tokens(const ref::AttentionProblem& p, int64_t most) {
  std::set<int64_t> tokens;
  if (p.tokens() <= most) {
    for (int64_t t = 0; t < p.tokens(); ++t) tokens.insert(t);
    return {tokens.begin(), tokens.end()};
  }
  for (const int64_t offset : {int64_t{0}, int64_t{62}, int64_t{63}, int64_t{64}, int64_t{127}}) {
    if (offset < p.tokens()) tokens.insert({offset, p.tokens() - 1 - offset});
  }
  const Philox random(most, Stream::Test);
  for (uint64_t i = 0; static_cast<int64_t>(tokens.size()) < most; ++i) {
    tokens.insert(static_cast<int64_t>(random.below(static_cast<uint64_t>(p.tokens()), i)));
  }
  return {tokens.begin(), tokens.end()};
}

inline std::string row_name(int64_t t, int64_t h) {
  return fmt::format("[{}, {}]", t, h);
}

/// tau, jcut and the kept set of each row equal the definition's: no tolerance.
inline void check_device_sets(const AttentionInputs& in, const AttentionRun& run,
                              int64_t most = std::numeric_limits<int64_t>::max()) {
  const AttentionReference reference(in, {});
  int64_t wrong = 0;
  for (const int64_t t : sampled_tokens(in.problem, most)) {
    for (int h = 0; h < in.problem.heads; ++h) {
      const auto row = static_cast<size_t>(t * in.problem.heads + h);
      if (std::isnan(run.lse[row])) continue;  // check_device_values says whether it should be
      const ref::KeptRow want = reference.select(t, h);
      std::vector<int32_t> kept;
      for (int64_t j = in.problem.begin_of(t); j <= t; ++j) {
        if (reference.keeps(run, t, h, j)) kept.push_back(static_cast<int32_t>(j));
      }
      const bool same = want.tau == run.tau[row] && want.jcut == run.jcut[row] && want.keys == kept;
      if (!same && wrong++ == 0) {
        UNSCOPED_INFO("row " << row_name(t, h) << ": tau " << run.tau[row] << " jcut "
                             << run.jcut[row] << " keeps " << kept.size() << ", definition "
                             << want.tau << " " << want.jcut << " keeps " << want.keys.size());
      }
    }
  }
  CHECK(wrong == 0);
}

/// out, lse and the statistics lie within the derived bounds.
inline void check_device_values(const AttentionInputs& in, const AttentionRun& run,
                                AttentionPrecision precision,
                                int64_t most = std::numeric_limits<int64_t>::max()) {
  const AttentionReference reference(in, precision);
  const ref::AttentionProblem& p = in.problem;
  RowChecks out("out"), lse("lse"), lse_visible("lse_visible"), entropy("entropy");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const int64_t t : sampled_tokens(p, most)) {
    for (int h = 0; h < p.heads; ++h) {
      const auto row = static_cast<size_t>(t * p.heads + h);
      const ref::KeptRow kept = reference.select(t, h);
      AttentionReference::Forward want = reference.forward(t, h, kept.keys);
      if (kept.nan || std::isnan(want.lse.v) || std::isinf(want.lse.v)) {
        want = {std::vector<ref::Enclosed>(static_cast<size_t>(p.width), ref::Enclosed(nan)),
                ref::Enclosed(nan), ref::Enclosed(nan), ref::Enclosed(nan)};
      }
      const std::string name = row_name(t, h);
      out.add(name, run.out.data() + row * static_cast<size_t>(p.width), want.out);
      lse.add(name, run.lse[row], want.lse);
      if (run.lse_visible.empty()) continue;
      lse_visible.add(name, run.lse_visible[row], want.lse_visible);
      entropy.add(name, run.entropy[row], want.entropy);
    }
  }
  out.finish(0.05);
  lse.finish(0.01);
  if (run.lse_visible.empty()) return;
  lse_visible.finish(0.01);
  entropy.finish(0.05);
}

/// dqkv lies within the derived bounds, given out, lse, tau and jcut of the run.
inline void check_device_gradients(const AttentionInputs& in, const AttentionRun& run,
                                   AttentionPrecision precision,
                                   int64_t most = std::numeric_limits<int64_t>::max()) {
  const AttentionReference reference(in, precision);
  const ref::AttentionProblem& p = in.problem;
  RowChecks dquery("dq"), dkey("dk"), dvalue("dv");
  for (const int64_t t : sampled_tokens(p, most)) {
    for (int h = 0; h < p.heads; ++h) {
      dquery.add(row_name(t, h), run.dqkv.data() + p.query(t, h),
                 reference.query_gradient(run, t, h));
    }
    for (int g = 0; g < p.kv_heads; ++g) {
      const int h = g * p.group();
      const AttentionReference::KeyGradient want = reference.key_gradient(run, t, g);
      dkey.add(row_name(t, g), run.dqkv.data() + p.key(t, h), want.dkey);
      dvalue.add(row_name(t, g), run.dqkv.data() + p.value(t, h), want.dvalue);
    }
  }
  const double widest = in.dtype == DType::BF16 ? 0.2 : 0.05;
  dquery.finish(widest);
  dkey.finish(widest);
  dvalue.finish(widest);
}

/// All of it: sets, values and gradients; rows that are not sampled are numbers if all inputs are.
inline void check_attention(const AttentionInputs& in, const AttentionRun& run,
                            AttentionPrecision precision,
                            int64_t most = std::numeric_limits<int64_t>::max()) {
  check_device_sets(in, run, most);
  check_device_values(in, run, precision, most);
  check_device_gradients(in, run, precision, most);
  const auto nans = [](const std::vector<float>& values) {
    return std::count_if(values.begin(), values.end(), [](float x) { return std::isnan(x); });
  };
  if (nans(run.lse) > 0 || nans(in.qkv) + nans(in.dout) > 0) return;
  CHECK(nans(run.out) + nans(run.dqkv) == 0);
}

}  // namespace pivot::test
