#pragma once
/// The scalar with which references derive their error bounds: an fp64 value together with the
/// interval in which an fp32 evaluation of the same formula must lie, whatever the order of its
/// sums.
///
/// Each operation widens its interval by half an ulp (u = 2^-24 relative, 2^-149 absolute); a sum
/// of n terms by gamma_n = n u / (1 - n u) times the sum of magnitudes, which holds for every order
/// of addition and with fused multiply-adds (Higham, Accuracy and Stability of Numerical
/// Algorithms, 4.2).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace pivot::ref {

struct Enclosed {
  double v = 0;   // the value, in fp64
  double lo = 0;  // fp32 results lie in [lo, hi]
  double hi = 0;

  Enclosed() = default;
  /// Exact: an input.
  explicit Enclosed(double value) : v(value), lo(value), hi(value) {}
  Enclosed(double value, double low, double high) : v(value), lo(low), hi(high) {}
};

/// The fp64 value; an index or another exact input as what it is.
inline double number(double x) {
  return x;
}
inline double number(Enclosed x) {
  return x.v;
}
template <class S>
int64_t integer(S x) {
  return static_cast<int64_t>(number(x));
}

inline constexpr double kUnit = 0x1p-24;
inline constexpr double kTiny = 0x1p-149;
inline constexpr double kFloatMax = std::numeric_limits<float>::max();

/// The interval after rounding with relative error `relative`; beyond the floats lies infinity.
inline Enclosed widened(double v, double lo, double hi, double relative = kUnit) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (std::isnan(v)) return Enclosed(v);
  if (std::isnan(lo) || std::isnan(hi)) return {v, -kInf, kInf};
  lo -= std::isinf(lo) ? 0 : std::abs(lo) * relative + kTiny;
  hi += std::isinf(hi) ? 0 : std::abs(hi) * relative + kTiny;
  if (hi > kFloatMax) hi = kInf;
  if (lo < -kFloatMax) lo = -kInf;
  return {v, std::min(lo, kFloatMax), std::max(hi, -kFloatMax)};
}

/// One rounding of a number computed in fp64.
inline double rounded(double x, double) {
  return x;
}
inline Enclosed rounded(double x, Enclosed) {
  return widened(x, x, x);
}
template <class S>
S rounded(double x) {
  return rounded(x, S());
}

inline Enclosed operator+(Enclosed a, Enclosed b) {
  return widened(a.v + b.v, a.lo + b.lo, a.hi + b.hi);
}
inline Enclosed operator-(Enclosed a) {
  return {-a.v, -a.hi, -a.lo};
}
inline Enclosed operator-(Enclosed a, Enclosed b) {
  return a + -b;
}
inline Enclosed operator*(Enclosed a, Enclosed b) {
  const double corner[] = {a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi};
  return widened(a.v * b.v, *std::min_element(corner, corner + 4),
                 *std::max_element(corner, corner + 4));
}
inline Enclosed operator/(Enclosed a, Enclosed b) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (b.lo <= 0 && b.hi >= 0) return {a.v / b.v, -kInf, kInf};
  const double corner[] = {a.lo / b.lo, a.lo / b.hi, a.hi / b.lo, a.hi / b.hi};
  return widened(a.v / b.v, *std::min_element(corner, corner + 4),
                 *std::max_element(corner, corner + 4));
}

inline double square_root(double x) {
  return std::sqrt(x);
}
inline Enclosed square_root(Enclosed x) {
  return widened(std::sqrt(x.v), std::sqrt(std::max(0.0, x.lo)), std::sqrt(x.hi));
}
/// vec_exp's two ulp, four units.
inline double exponential(double x) {
  return std::exp(x);
}
inline Enclosed exponential(Enclosed x) {
  return widened(std::exp(x.v), std::exp(x.lo), std::exp(x.hi), 4 * kUnit);
}
inline double logarithm(double x) {
  return std::log(x);
}
inline Enclosed logarithm(Enclosed x) {
  return widened(std::log(x.v), std::log(x.lo), std::log(x.hi), 2 * kUnit);
}
inline double larger(double a, double b) {
  return std::max(a, b);
}
inline Enclosed larger(Enclosed a, Enclosed b) {
  return {std::max(a.v, b.v), std::max(a.lo, b.lo), std::max(a.hi, b.hi)};
}

/// initial + term(0) + ... + term(n - 1), added in any order.
template <class F>
double sum(int64_t n, F term, double initial = 0) {
  double total = initial;
  for (int64_t i = 0; i < n; ++i) total += term(i);
  return total;
}
template <class F>
Enclosed sum(int64_t n, F term, Enclosed initial) {
  Enclosed total = initial;
  double magnitude = std::max(std::abs(initial.lo), std::abs(initial.hi));
  for (int64_t i = 0; i < n; ++i) {
    const Enclosed t = term(i);
    total.v += t.v;
    total.lo += t.lo;
    total.hi += t.hi;
    magnitude += std::max(std::abs(t.lo), std::abs(t.hi));
  }
  const double units = static_cast<double>(n + 1) * kUnit;
  const double gamma = units / (1 - units) * magnitude;
  return widened(total.v, total.lo - gamma, total.hi + gamma, 0);
}

}  // namespace pivot::ref
