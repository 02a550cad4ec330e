#pragma once
/// Reference of the linear layer.

#include "kernels/matmul/matmul.h"
#include "kernels/reference.h"

namespace pivot::ref {

/// x, or the interval around it, with an absolute error added.
inline double loosened(double x, double) {
  return x;
}
inline Enclosed loosened(Enclosed x, double error) {
  return {x.v, x.lo - error, x.hi + error};
}

struct MatmulForwardRef {
  static constexpr const char* kName = "matmul_forward";

  static std::vector<OpCase> cases() {
    // Up to 16 rows take the few-rows path; 600 x 1100 are several blocks of the other.
    return standard_cases({{"odd", {.n = 5, .i = 37, .o = 9}},
                           {"one row", {.n = 1, .i = 64, .o = 131}},
                           {"one channel", {.n = 3, .i = 1, .o = 1}},
                           {"last of the few", {.n = 16, .i = 48, .o = 70}},
                           {"first of the many", {.n = 17, .i = 48, .o = 70}},
                           {"column blocks", {.n = 70, .i = 19, .o = 1100}},
                           {"row blocks", {.n = 600, .i = 33, .o = 65}},
                           {"empty", {.n = 0, .i = 8, .o = 4}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"y", Role::Out, {c.dims.n, c.dims.o}, c.real},
            {"x", Role::In, {c.dims.n, c.dims.i}, c.real},
            {"w", Role::In, {c.dims.o, c.dims.i}, c.real},
            {"bias", Role::In, {c.dims.o}, c.real},
            {"residual", Role::In, {c.dims.n, c.dims.o}, c.real}};
  }
  static void adjust(const OpCase&, ValueMap<double>&) {}

  /// Bias and residual count as zero where they are not among the values. A BF16 result with both
  /// is rounded twice on GPUs: cuBLASLt rounds the sum with the one before it adds the other.
  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const bool bias = t.count("bias") > 0;
    const bool residual = t.count("residual") > 0;
    for (int64_t n = 0; n < c.dims.n; ++n) {
      const S* x = &t["x"][n * c.dims.i];
      for (int64_t o = 0; o < c.dims.o; ++o) {
        const S* w = &t["w"][o * c.dims.i];
        const int64_t at = n * c.dims.o + o;
        S base = residual ? t["residual"][at] : S(0);
        if (bias) base = base + t["bias"][o];
        S& y = t["y"][at];
        y = sum(
            c.dims.i, [&](int64_t i) { return x[i] * w[i]; }, base);
        if (c.real != DType::BF16 || !bias || !residual) continue;
        const double added =
            std::max(std::abs(number(t["bias"][o])), std::abs(number(t["residual"][at])));
        y = loosened(y, 0x1p-8 * (std::abs(number(y)) + added));
      }
    }
  }
  static void call(const OpCase&, const TensorMap& t, Context& ctx) {
    matmul_forward({.y = t.at("y"),
                    .x = t.at("x"),
                    .w = t.at("w"),
                    .bias = find(t, "bias"),
                    .residual = find(t, "residual")},
                   ctx);
  }
};

struct MatmulBackwardRef {
  static constexpr const char* kName = "matmul_backward";
  using Forward = MatmulForwardRef;

  static std::vector<OpCase> cases() { return Forward::cases(); }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"dx", Role::Out, {c.dims.n, c.dims.i}, c.real},
            {"dw", Role::InOut, {c.dims.o, c.dims.i}},
            {"dbias", Role::InOut, {c.dims.o}},
            {"dy", Role::In, {c.dims.n, c.dims.o}, c.real},
            {"x", Role::In, {c.dims.n, c.dims.i}, c.real},
            {"w", Role::In, {c.dims.o, c.dims.i}, c.real}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    t["bias"].resize(static_cast<size_t>(c.dims.o));
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const auto& [rows, inputs, outputs] = std::tuple(c.dims.n, c.dims.i, c.dims.o);
    const S* x = t["x"].data();
    const S* w = t["w"].data();
    const S* dy = t["dy"].data();
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t i = 0; i < inputs; ++i) {
        const auto term = [&](int64_t o) { return dy[n * outputs + o] * w[o * inputs + i]; };
        t["dx"][n * inputs + i] = sum(outputs, term, S(0));
      }
    }
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t i = 0; i < inputs; ++i) {
        const auto term = [&](int64_t n) { return dy[n * outputs + o] * x[n * inputs + i]; };
        S& dw = t["dw"][o * inputs + i];
        dw = sum(rows, term, dw);
      }
      S& dbias = t["dbias"][o];
      dbias = sum(
          rows, [&](int64_t n) { return dy[n * outputs + o]; }, dbias);
    }
  }
  static void call(const OpCase&, const TensorMap& t, Context& ctx) {
    matmul_backward({.dx = find(t, "dx"),
                     .dw = find(t, "dw"),
                     .dbias = find(t, "dbias"),
                     .dy = t.at("dy"),
                     .x = t.at("x"),
                     .w = t.at("w")},
                    ctx);
  }
};

}  // namespace pivot::ref
