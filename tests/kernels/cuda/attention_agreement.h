#pragma once
/// Comparison of two CUDA paths on all rows, however long the sequence is.

#include "tests/kernels/cuda/attention_case_cuda.h"

namespace pivot::test {

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline std::vector<float> rows_of(const std::vector<float>& all, int64_t begin, int64_t end,
                                  int64_t stride) {
  return {all.begin() + begin * stride, all.begin() + end * stride};
}

inline double larger_share(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::infinity() : std::max(a, b);
}

/// tau (-0 equals +0) and jcut of all rows.
inline void check_same_sets(const AttentionRun& a, const AttentionRun& b) {
  REQUIRE(a.tau.size() == b.tau.size());
  int64_t wrong = 0;
  for (size_t i = 0; i < a.tau.size(); ++i) {
    if ((a.tau[i] != b.tau[i] || a.jcut[i] != b.jcut[i]) && wrong++ == 0) {
      UNSCOPED_INFO("row " << i << ": tau " << a.tau[i] << " and " << b.tau[i] << ", jcut "
                           << a.jcut[i] << " and " << b.jcut[i]);
    }
  }
  CHECK(wrong == 0);
}

/// out within what the roundings of weights and results to bfloat16 explain, whose bound is in
/// units of sum_j p_j |v_j|, taken from a run of the naive path on the magnitudes of the values;
/// lse within fp32's.
inline void check_same_values(const AttentionInputs& in, const AttentionRun& want,
                              const AttentionRun& got, AttentionPrecision precision, Context& ctx) {
  const ref::AttentionProblem& p = in.problem;
  AttentionInputs magnitudes = in;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    const auto first = magnitudes.qkv.begin() + p.value(t, 0);
    std::transform(first, first + p.kv_heads * p.width, first, [](float x) { return std::abs(x); });
  }
  const std::vector<float> weight =
      run_forward(naive_path(), magnitudes, ctx, Diagnostics::Off).out;
  // Both results and the magnitudes are rounded once, the weights as the path says.
  const double units = 1.02 * (2 * kBf16Unit + precision.weights);
  double worst = 0;
  double worst_lse = 0;
  for (size_t i = 0; i < want.out.size(); ++i) {
    const double difference = std::abs(double{got.out[i]} - want.out[i]);
    const double share = difference / (units * weight[i] + 0x1p-133);
    worst = larger_share(worst, share);
  }
  for (size_t i = 0; i < want.lse.size(); ++i) {
    // Sums of n terms, and scores (that may be off by their own bound) times the scale.
    const double n = static_cast<double>(i / static_cast<size_t>(p.heads)) + 1;
    const double bound = (n + 32) * ref::kUnit + 16 * ref::kUnit * std::abs(want.lse[i]) +
                         (precision.score_bits ? 0 : 1e-5);
    const double share = std::abs(double{got.lse[i]} - want.lse[i]) / bound;
    worst_lse = larger_share(worst_lse, share);
  }
  CHECK(worst <= 1);
  CHECK(worst_lse <= 1);
}

/// Gradients, given the same out and lse or nearly: in each tile of 64 tokens and each head the rms
/// difference is a small share of the gradient's rms. Single roundings of P and dS are 2^-8 of a
/// term; a tile left out or added twice changes everything. (The bounds of single elements:
/// check_device_gradients.)
inline void check_same_gradients(const AttentionInputs& in, const AttentionRun& want,
                                 const AttentionRun& got) {
  const ref::AttentionProblem& p = in.problem;
  double worst = 0;
  for (int head = 0; head < p.heads + 2 * p.kv_heads; ++head) {
    double total = 0;
    std::vector<double> wrong;
    std::vector<double> size;
    for (int64_t first = 0; first < p.tokens(); first += 64) {
      double difference = 0;
      double square = 0;
      for (int64_t t = first; t < std::min(first + 64, p.tokens()); ++t) {
        for (int64_t i = p.query(t, head); i < p.query(t, head) + p.width; ++i) {
          difference += std::pow(double{got.dqkv[i]} - want.dqkv[i], 2);
          square += std::pow(double{want.dqkv[i]}, 2);
        }
      }
      wrong.push_back(difference);
      size.push_back(square);
      total += square;
    }
    // Where a tile's gradient cancels to nothing the mean tile is the measure.
    const double mean = total / static_cast<double>(std::max<size_t>(1, size.size()));
    for (size_t i = 0; i < size.size(); ++i) {
      const double least = 64 * static_cast<double>(p.width) * 1e-8;  // fp32 noise of dp - delta
      const double share = std::sqrt(wrong[i] / (std::max(size[i], mean) + least));
      worst = larger_share(worst, share);
    }
  }
  CHECK(worst < 0.02);
}

}  // namespace pivot::test
