#pragma once
/// Reference of the norm of query and key heads.

#include "kernels/qk_norm/qk_norm.h"
#include "kernels/reference.h"

namespace pivot::ref {

struct QkNormForwardRef {
  static constexpr const char* kName = "qk_norm_forward";
  static constexpr float kEps = 1e-6F;

  static std::vector<OpCase> cases() {
    return standard_cases({{"odd", {.n = 5, .h = 3, .g = 1, .d = 10}},
                           {"one row", {.n = 1, .h = 4, .g = 2, .d = 64}},
                           {"many rows", {.n = 150, .h = 2, .g = 1, .d = 24}},
                           {"empty", {.n = 0, .h = 2, .g = 1, .d = 8}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    const Shape packed{c.dims.n, c.dims.h + 2 * c.dims.g, c.dims.d};
    return {{"out", Role::Out, packed, c.real},
            {"rstd", Role::Out, {c.dims.n, c.dims.h + c.dims.g}},
            {"qkv", Role::In, packed, c.real},
            {"q_weight", Role::In, {c.dims.d}, c.real},
            {"k_weight", Role::In, {c.dims.d}, c.real}};
  }
  static void adjust(const OpCase&, ValueMap<double>&) {}

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const auto& [heads, normed, width] = std::tuple(c.dims.h, c.dims.h + c.dims.g, c.dims.d);
    const int64_t packed = c.dims.h + 2 * c.dims.g;
    for (int64_t n = 0; n < c.dims.n; ++n) {
      for (int64_t h = 0; h < packed; ++h) {
        const int64_t at = (n * packed + h) * width;
        const S* x = &t["qkv"][at];
        S* out = &t["out"][at];
        if (h >= normed) {
          std::copy(x, x + width, out);
          continue;
        }
        const S square = sum(
            width, [&](int64_t i) { return x[i] * x[i]; }, S(0));
        const S rstd = S(1) / square_root(square / S(static_cast<double>(width)) + S(kEps));
        t["rstd"][n * normed + h] = rstd;
        const std::vector<S>& weight = t[h < heads ? "q_weight" : "k_weight"];
        for (int64_t i = 0; i < width; ++i) out[i] = x[i] * rstd * weight[i];
      }
    }
  }
  static QkNormForward args(const OpCase& c, const TensorMap& t) {
    return {.out = t.at("out"),
            .rstd = t.at("rstd"),
            .qkv = t.at("qkv"),
            .q_weight = t.at("q_weight"),
            .k_weight = t.at("k_weight"),
            .heads = static_cast<int>(c.dims.h),
            .kv_heads = static_cast<int>(c.dims.g),
            .eps = kEps};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    qk_norm_forward(args(c, t), ctx);
  }
};

/// `dqkv` holds the gradient of `out` and becomes that of `qkv`.
struct QkNormBackwardRef {
  static constexpr const char* kName = "qk_norm_backward";
  using Forward = QkNormForwardRef;

  static std::vector<OpCase> cases() { return Forward::cases(); }
  static std::vector<Operand> operands(const OpCase& c) {
    const Shape packed{c.dims.n, c.dims.h + 2 * c.dims.g, c.dims.d};
    return {{"dqkv", Role::InOut, packed, c.real},
            {"dq_weight", Role::InOut, {c.dims.d}},
            {"dk_weight", Role::InOut, {c.dims.d}},
            {"qkv", Role::In, packed, c.real},
            {"rstd", Role::In, {c.dims.n, c.dims.h + c.dims.g}},
            {"q_weight", Role::In, {c.dims.d}, c.real},
            {"k_weight", Role::In, {c.dims.d}, c.real}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    t["out"].resize(t["qkv"].size());
    Forward::run(c, t);
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const auto& [rows, normed, width] = std::tuple(c.dims.n, c.dims.h + c.dims.g, c.dims.d);
    const int64_t packed = c.dims.h + 2 * c.dims.g;
    const std::vector<S> dy = t["dqkv"];
    const auto dweight = [&](S initial, int64_t first, int64_t heads, int64_t i) {
      const auto term = [&](int64_t row_head) {
        const int64_t n = row_head / heads;
        const int64_t h = first + row_head % heads;
        const int64_t at = (n * packed + h) * width + i;
        return dy[static_cast<size_t>(at)] * t["qkv"][at] * t["rstd"][n * normed + h];
      };
      return sum(rows * heads, term, initial);
    };
    for (int64_t i = 0; i < width; ++i) {
      t["dq_weight"][i] = dweight(t["dq_weight"][i], 0, c.dims.h, i);
      t["dk_weight"][i] = dweight(t["dk_weight"][i], c.dims.h, c.dims.g, i);
    }
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t h = 0; h < normed; ++h) {
        const int64_t at = (n * packed + h) * width;
        const S* x = &t["qkv"][at];
        const S* g = &dy[static_cast<size_t>(at)];
        const std::vector<S>& weight = t[h < c.dims.h ? "q_weight" : "k_weight"];
        const S rstd = t["rstd"][n * normed + h];
        const S dot = sum(
            width, [&](int64_t i) { return g[i] * weight[i] * x[i]; }, S(0));
        const S slope = dot * rstd * rstd * rstd / S(static_cast<double>(width));
        for (int64_t i = 0; i < width; ++i) {
          t["dqkv"][at + i] = g[i] * weight[i] * rstd - x[i] * slope;
        }
      }
    }
  }
  static QkNormBackward args(const OpCase& c, const TensorMap& t) {
    return {.dqkv = t.at("dqkv"),
            .dq_weight = t.at("dq_weight"),
            .dk_weight = t.at("dk_weight"),
            .qkv = t.at("qkv"),
            .rstd = t.at("rstd"),
            .q_weight = t.at("q_weight"),
            .k_weight = t.at("k_weight"),
            .heads = static_cast<int>(c.dims.h),
            .kv_heads = static_cast<int>(c.dims.g)};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    qk_norm_backward(args(c, t), ctx);
  }
};

}  // namespace pivot::ref
