#pragma once
/// Reference of low-rank adaptation. Dimensions: o and i of the matrix, n is the rank.

#include "kernels/lora/lora.h"
#include "kernels/reference.h"

namespace pivot::ref {

inline constexpr double kLoraScale = 0.75;  // exact in every type

struct LoraMergeRef {
  static constexpr const char* kName = "lora_merge";

  static std::vector<OpCase> cases() {
    return standard_cases({{"odd", {.n = 3, .i = 37, .o = 9}},
                           {"rank 1", {.n = 1, .i = 64, .o = 131}},
                           {"one element", {.n = 2, .i = 1, .o = 1}},
                           {"rank above both", {.n = 20, .i = 12, .o = 8}},
                           {"column blocks", {.n = 8, .i = 1100, .o = 19}},
                           {"row blocks", {.n = 8, .i = 33, .o = 600}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"y", Role::Out, {c.dims.o, c.dims.i}, c.real},
            {"w", Role::In, {c.dims.o, c.dims.i}, c.real},
            {"a", Role::In, {c.dims.n, c.dims.i}, c.real},
            {"b", Role::In, {c.dims.o, c.dims.n}, c.real}};
  }
  static void adjust(const OpCase&, ValueMap<double>&) {}

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    for (int64_t o = 0; o < c.dims.o; ++o) {
      for (int64_t i = 0; i < c.dims.i; ++i) {
        const auto term = [&](int64_t r) {
          return t["b"][o * c.dims.n + r] * t["a"][r * c.dims.i + i];
        };
        const int64_t at = o * c.dims.i + i;
        t["y"][at] = t["w"][at] + sum(c.dims.n, term, S(0)) * S(kLoraScale);
      }
    }
  }
  static void call(const OpCase&, const TensorMap& t, Context& ctx) {
    lora_merge({.y = t.at("y"),
                .w = t.at("w"),
                .a = t.at("a"),
                .b = t.at("b"),
                .scale = static_cast<float>(kLoraScale)},
               ctx);
  }
};

struct LoraBackwardRef {
  static constexpr const char* kName = "lora_backward";
  using Forward = LoraMergeRef;

  static std::vector<OpCase> cases() { return Forward::cases(); }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"da", Role::InOut, {c.dims.n, c.dims.i}},
            {"db", Role::InOut, {c.dims.o, c.dims.n}},
            {"dy", Role::In, {c.dims.o, c.dims.i}},
            {"a", Role::In, {c.dims.n, c.dims.i}},
            {"b", Role::In, {c.dims.o, c.dims.n}}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    t["w"].resize(static_cast<size_t>(c.dims.o * c.dims.i));
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const auto& [rank, inputs, outputs] = std::tuple(c.dims.n, c.dims.i, c.dims.o);
    for (int64_t r = 0; r < rank; ++r) {
      for (int64_t i = 0; i < inputs; ++i) {
        const auto term = [&](int64_t o) { return t["b"][o * rank + r] * t["dy"][o * inputs + i]; };
        S& da = t["da"][r * inputs + i];
        da = da + sum(outputs, term, S(0)) * S(kLoraScale);
      }
    }
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t r = 0; r < rank; ++r) {
        const auto term = [&](int64_t i) {
          return t["dy"][o * inputs + i] * t["a"][r * inputs + i];
        };
        S& db = t["db"][o * rank + r];
        db = db + sum(inputs, term, S(0)) * S(kLoraScale);
      }
    }
  }
  static void call(const OpCase&, const TensorMap& t, Context& ctx) {
    lora_backward({.da = t.at("da"),
                   .db = t.at("db"),
                   .dy = t.at("dy"),
                   .a = t.at("a"),
                   .b = t.at("b"),
                   .scale = static_cast<float>(kLoraScale)},
                  ctx);
  }
};

}  // namespace pivot::ref
