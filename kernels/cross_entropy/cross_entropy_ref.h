#pragma once
/// Reference of the output projection with cross-entropy.

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/reference.h"

namespace pivot::ref {

/// A number between two formulas, as a tensor of this type holds it. Rounding is monotone; the
/// interval is doubled first, as compare() does with results, since a twin may associate otherwise.
inline double stored(double x, DType dtype) {
  return dtype == DType::BF16 ? to_float(to_bfloat16(static_cast<float>(x))) : x;
}
inline Enclosed stored(Enclosed x, DType dtype) {
  if (dtype != DType::BF16 || std::isnan(x.v)) return x;
  const double below = std::isinf(x.lo) ? x.lo : x.v - 2 * (x.v - x.lo);
  const double above = std::isinf(x.hi) ? x.hi : x.v + 2 * (x.hi - x.v);
  return {stored(x.v, dtype), stored(below, dtype), stored(above, dtype)};
}

/// exp(x) of a difference of logits. With BF16 twins compute 2^(x log2 e): the product's rounding
/// and the constant's add up to 3 |x| units, the power of two to 6 more.
inline double logit_exponential(double x, DType) {
  return std::exp(x);
}
inline Enclosed logit_exponential(Enclosed x, DType dtype) {
  if (dtype != DType::BF16) return exponential(x);
  const double units = 3 * std::max(std::abs(x.lo), std::abs(x.hi)) + 6;
  return widened(std::exp(x.v), std::exp(x.lo), std::exp(x.hi), std::min(1.0, units * kUnit));
}

struct LinearCrossEntropyRef {
  static constexpr const char* kName = "linear_cross_entropy";
  static constexpr float kScale = 0.125F;

  static std::vector<OpCase> cases() {
    // Every third target is ignored; 300 rows of a vocabulary of 20000 are several chunks on
    // the CPU, 8200 rows on CUDA.
    return standard_cases({{"odd", {.n = 7, .c = 13, .v = 29}},
                           {"one row", {.n = 1, .c = 16, .v = 40}},
                           {"one word", {.n = 4, .c = 3, .v = 1}},
                           {"chunks", {.n = 300, .c = 2, .v = 20000}},
                           {"row blocks", {.n = 600, .c = 9, .v = 70}},
                           {"chunks of few words", {.n = 8200, .c = 2, .v = 3}},
                           {"empty", {.n = 0, .c = 8, .v = 4}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"loss", Role::Out, {c.dims.n}},
            {"dx", Role::Out, {c.dims.n, c.dims.c}, c.real},
            {"dw", Role::InOut, {c.dims.v, c.dims.c}},
            {"x", Role::In, {c.dims.n, c.dims.c}, c.real},
            {"w", Role::In, {c.dims.v, c.dims.c}, c.real},
            {"targets", Role::In, {c.dims.n}, DType::I32}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    fill_integers(t["targets"], c.dims.v, 0);
    for (size_t n = 2; n < t["targets"].size(); n += 3) t["targets"][n] = kIgnoreTarget;
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const auto& [rows, width, vocab] = std::tuple(c.dims.n, c.dims.c, c.dims.v);
    const S* w = t["w"].data();
    std::vector<S> dz(static_cast<size_t>(rows * vocab), S(0));
    for (int64_t n = 0; n < rows; ++n) {
      const int64_t target = integer(t["targets"][n]);
      t["loss"][n] = S(0);
      if (target == kIgnoreTarget) continue;
      const S* x = &t["x"][n * width];
      S* z = &dz[static_cast<size_t>(n * vocab)];
      for (int64_t v = 0; v < vocab; ++v) {
        const S dot = sum(
            width, [&](int64_t i) { return x[i] * w[v * width + i]; }, S(0));
        z[v] = stored(dot, c.real);
      }
      S largest = z[0];
      for (int64_t v = 0; v < vocab; ++v) largest = larger(largest, z[v]);
      const S total = sum(
          vocab, [&](int64_t v) { return logit_exponential(z[v] - largest, c.real); }, S(0));
      t["loss"][n] = largest - z[target] + logarithm(total);
      for (int64_t v = 0; v < vocab; ++v) {
        const S p = logit_exponential(z[v] - largest, c.real) / total;
        z[v] = stored(S(kScale) * p - S(v == target ? kScale : 0.0), c.real);
      }
    }
    for (int64_t i = 0; i < width; ++i) {
      for (int64_t n = 0; n < rows; ++n) {
        const S* z = &dz[static_cast<size_t>(n * vocab)];
        const auto term = [&](int64_t v) { return z[v] * w[v * width + i]; };
        t["dx"][n * width + i] = sum(vocab, term, S(0));
      }
      for (int64_t v = 0; v < vocab; ++v) {
        const auto term = [&](int64_t n) {
          return dz[static_cast<size_t>(n * vocab + v)] * t["x"][n * width + i];
        };
        S& dw = t["dw"][v * width + i];
        dw = sum(rows, term, dw);
      }
    }
  }
  static void call(const OpCase&, const TensorMap& t, Context& ctx) {
    linear_cross_entropy({.loss = t.at("loss"),
                          .dx = find(t, "dx"),
                          .dw = find(t, "dw"),
                          .x = t.at("x"),
                          .w = t.at("w"),
                          .targets = t.at("targets"),
                          .grad_scale = kScale},
                         ctx);
  }
};

}  // namespace pivot::ref
