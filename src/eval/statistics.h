#pragma once
/// Standard errors and comparisons of paired results.

#include <cstdint>
#include <span>

namespace pivot::eval {

/// A mean over n units (answers, tokens) that come in independent clusters (documents).
struct Estimate {
  double value = 0;
  double stderr_value = 0;  // NaN with fewer than two clusters
  int64_t n = 0;
};

/// Sums of one cluster.
struct Cluster {
  double sum = 0;
  int64_t n = 0;
};

/// Ratio estimator: value = sum of sums / n, variance = D / (D - 1) * sum_d (sum_d - value n_d)^2 /
/// n^2 over D clusters (Cochran, Sampling Techniques, 6.3). With one unit per cluster it is sd /
/// sqrt(n) with n - 1 degrees of freedom. Clusters without units do not count.
Estimate clustered_mean(std::span<const Cluster> clusters);

/// Of the difference b - a of two results on the same clusters (same n each).
Estimate paired_difference(std::span<const Cluster> a, std::span<const Cluster> b);

/// Wilson's 95 % interval of a share.
struct Interval {
  double low = 0, high = 1;
};
Interval wilson(double share, int64_t n);

/// McNemar's exact two-sided test: `only_a` units that only a got right, `only_b` those only b did.
/// Probability of a split at least as uneven if both were equally good; 1 when they never differ.
double mcnemar(int64_t only_a, int64_t only_b);

}  // namespace pivot::eval
