#pragma once
/// Reference of RMSNorm.

#include "kernels/reference.h"
#include "kernels/rmsnorm/rmsnorm.h"

namespace pivot::ref {

struct RmsNormForwardRef {
  static constexpr const char* kName = "rmsnorm_forward";
  static constexpr float kEps = 1e-5F;

  static std::vector<OpCase> cases() {
    return standard_cases({{"odd", {.n = 5, .c = 37}},
                           {"one row", {.n = 1, .c = 64}},
                           {"one channel", {.n = 3, .c = 1}},
                           {"many rows", {.n = 201, .c = 48}},
                           {"empty", {.n = 0, .c = 8}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    const auto& [n, width] = std::pair(c.dims.n, c.dims.c);
    return {{"y", Role::Out, {n, width}, c.real},
            {"rstd", Role::Out, {n}},
            {"x", Role::In, {n, width}, c.real},
            {"weight", Role::In, {width}, c.real}};
  }
  static void adjust(const OpCase&, ValueMap<double>&) {}

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const int64_t width = c.dims.c;
    for (int64_t n = 0; n < c.dims.n; ++n) {
      const S* x = &t["x"][n * width];
      const S square = sum(
          width, [&](int64_t i) { return x[i] * x[i]; }, S(0));
      const S mean = square / S(static_cast<double>(width));
      const S rstd = S(1) / square_root(mean + S(kEps));
      t["rstd"][n] = rstd;
      for (int64_t i = 0; i < width; ++i) t["y"][n * width + i] = x[i] * rstd * t["weight"][i];
    }
  }
  static RmsNormForward args(const OpCase&, const TensorMap& t) {
    return {.y = t.at("y"),
            .rstd = t.at("rstd"),
            .x = t.at("x"),
            .weight = t.at("weight"),
            .eps = kEps};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    rmsnorm_forward(args(c, t), ctx);
  }
};

struct RmsNormBackwardRef {
  static constexpr const char* kName = "rmsnorm_backward";
  using Forward = RmsNormForwardRef;

  static std::vector<OpCase> cases() { return Forward::cases(); }
  static std::vector<Operand> operands(const OpCase& c) {
    const auto& [n, width] = std::pair(c.dims.n, c.dims.c);
    return {{"dx", Role::InOut, {n, width}, c.real}, {"dweight", Role::InOut, {width}},
            {"dy", Role::In, {n, width}, c.real},    {"x", Role::In, {n, width}, c.real},
            {"weight", Role::In, {width}, c.real},   {"rstd", Role::In, {n}}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    t["y"].resize(t["x"].size());
    Forward::run(c, t);
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const int64_t width = c.dims.c;
    for (int64_t n = 0; n < c.dims.n; ++n) {
      const S* x = &t["x"][n * width];
      const S* dy = &t["dy"][n * width];
      const S rstd = t["rstd"][n];
      const S dot = sum(
          width, [&](int64_t i) { return dy[i] * t["weight"][i] * x[i]; }, S(0));
      const S slope = dot * rstd * rstd * rstd / S(static_cast<double>(width));
      for (int64_t i = 0; i < width; ++i) {
        S& dx = t["dx"][n * width + i];
        dx = dx + (dy[i] * t["weight"][i] * rstd - x[i] * slope);
      }
    }
    for (int64_t i = 0; i < width; ++i) {
      const auto term = [&](int64_t n) {
        return t["dy"][n * width + i] * t["x"][n * width + i] * t["rstd"][n];
      };
      t["dweight"][i] = sum(c.dims.n, term, t["dweight"][i]);
    }
  }
  static RmsNormBackward args(const OpCase&, const TensorMap& t) {
    return {.dx = t.at("dx"),
            .dweight = t.at("dweight"),
            .dy = t.at("dy"),
            .x = t.at("x"),
            .weight = t.at("weight"),
            .rstd = t.at("rstd")};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    rmsnorm_backward(args(c, t), ctx);
  }
};

}  // namespace pivot::ref
