#pragma once
/// Reference of SwiGLU.

#include "kernels/reference.h"
#include "kernels/swiglu/swiglu.h"

namespace pivot::ref {

struct SwigluForwardRef {
  static constexpr const char* kName = "swiglu_forward";

  static std::vector<OpCase> cases() {
    return standard_cases({{"odd", {.n = 5, .f = 37}},
                           {"one row", {.n = 1, .f = 96}},
                           {"one channel", {.n = 3, .f = 1}},
                           {"wide", {.n = 9, .f = 9001}},
                           {"empty", {.n = 0, .f = 8}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"y", Role::Out, {c.dims.n, c.dims.f}, c.real},
            {"gate_up", Role::In, {c.dims.n, 2, c.dims.f}, c.real}};
  }
  static void adjust(const OpCase&, ValueMap<double>&) {}

  template <class S>
  static S sigmoid(S x) {
    return S(1) / (S(1) + exponential(-x));
  }
  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const int64_t width = c.dims.f;
    for (int64_t n = 0; n < c.dims.n; ++n) {
      for (int64_t f = 0; f < width; ++f) {
        const S gate = t["gate_up"][n * 2 * width + f];
        const S up = t["gate_up"][n * 2 * width + width + f];
        t["y"][n * width + f] = gate * sigmoid(gate) * up;
      }
    }
  }
  static SwigluForward args(const OpCase&, const TensorMap& t) {
    return {.y = t.at("y"), .gate_up = t.at("gate_up")};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    swiglu_forward(args(c, t), ctx);
  }
};

struct SwigluBackwardRef {
  static constexpr const char* kName = "swiglu_backward";
  using Forward = SwigluForwardRef;

  static std::vector<OpCase> cases() { return Forward::cases(); }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"dgate_up", Role::Out, {c.dims.n, 2, c.dims.f}, c.real},
            {"dy", Role::In, {c.dims.n, c.dims.f}, c.real},
            {"gate_up", Role::In, {c.dims.n, 2, c.dims.f}, c.real}};
  }
  static void adjust(const OpCase&, ValueMap<double>&) {}

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const int64_t width = c.dims.f;
    for (int64_t n = 0; n < c.dims.n; ++n) {
      for (int64_t f = 0; f < width; ++f) {
        const int64_t at = n * 2 * width + f;
        const S gate = t["gate_up"][at];
        const S up = t["gate_up"][at + width];
        const S dy = t["dy"][n * width + f];
        const S s = Forward::sigmoid(gate);
        t["dgate_up"][at] = dy * up * s * (S(1) + gate * (S(1) - s));
        t["dgate_up"][at + width] = dy * gate * s;
      }
    }
  }
  static SwigluBackward args(const OpCase&, const TensorMap& t) {
    return {.dgate_up = t.at("dgate_up"), .dy = t.at("dy"), .gate_up = t.at("gate_up")};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    swiglu_backward(args(c, t), ctx);
  }
};

}  // namespace pivot::ref
