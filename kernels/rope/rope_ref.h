#pragma once
/// Reference of the rotary embedding.

#include "kernels/reference.h"
#include "kernels/rope/rope.h"

namespace pivot::ref {

template <RopeDirection direction>
struct RopeRef {
  static constexpr const char* kName =
      direction == RopeDirection::Forward ? "rope" : "rope_backward";

  static std::vector<OpCase> cases() {
    return standard_cases({{"odd", {.n = 5, .h = 3, .g = 1, .d = 10}},
                           {"one row", {.n = 1, .h = 4, .g = 2, .d = 64}},
                           {"one pair", {.n = 3, .h = 1, .g = 1, .d = 2}},
                           {"many rows", {.n = 150, .h = 2, .g = 1, .d = 128}},
                           {"empty", {.n = 0, .h = 2, .g = 1, .d = 8}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"qkv", Role::InOut, {c.dims.n, c.dims.h + 2 * c.dims.g, c.dims.d}, c.real},
            {"positions", Role::In, {c.dims.n}, DType::I32},
            {"frequencies", Role::In, {c.dims.d / 2}}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    fill_integers(t["positions"], 1 << 19, 0);
    const auto frequencies = rope_frequencies(static_cast<int>(c.dims.d), 10000, {});
    t["frequencies"].assign(frequencies.begin(), frequencies.end());
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const int64_t half = c.dims.d / 2;
    for (int64_t n = 0; n < c.dims.n; ++n) {
      for (int64_t h = 0; h < c.dims.h + c.dims.g; ++h) {
        S* head = &t["qkv"][(n * (c.dims.h + 2 * c.dims.g) + h) * c.dims.d];
        for (int64_t i = 0; i < half; ++i) {
          // The contract: the product is an fp32 number.
          const float angle = static_cast<float>(number(t["positions"][n])) *
                              static_cast<float>(number(t["frequencies"][i]));
          const double sign = direction == RopeDirection::Forward ? 1 : -1;
          const S cosine = rounded<S>(std::cos(static_cast<double>(angle)));
          const S sine = rounded<S>(sign * std::sin(static_cast<double>(angle)));
          const S a = head[i];
          const S b = head[i + half];
          head[i] = a * cosine - b * sine;
          head[i + half] = b * cosine + a * sine;
        }
      }
    }
  }
  static Rope args(const OpCase& c, const TensorMap& t) {
    return {.qkv = t.at("qkv"),
            .positions = t.at("positions"),
            .frequencies = t.at("frequencies"),
            .heads = static_cast<int>(c.dims.h),
            .kv_heads = static_cast<int>(c.dims.g),
            .direction = direction};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) { rope(args(c, t), ctx); }
};

}  // namespace pivot::ref
