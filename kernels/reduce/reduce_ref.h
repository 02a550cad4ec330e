#pragma once
/// Reference of the sum of squares.

#include "kernels/reduce/reduce.h"
#include "kernels/reference.h"

namespace pivot::ref {

struct SumSquaresRef {
  static constexpr const char* kName = "sum_squares";

  static std::vector<OpCase> cases() {
    return standard_cases({{"odd", {.p = 1001}},
                           {"one", {.p = 1}},
                           {"block edge", {.p = 65536}},
                           {"blocks", {.p = 200003}},
                           {"empty", {.n = 0, .p = 0}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"sum", Role::Out, {1}}, {"x", Role::In, {c.dims.p}}};
  }
  static void adjust(const OpCase&, ValueMap<double>&) {}

  /// The op adds in fp64: only the result is rounded.
  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    double total = 0;
    for (int64_t i = 0; i < c.dims.p; ++i) total += number(t["x"][i]) * number(t["x"][i]);
    t["sum"][0] = rounded<S>(total);
  }
  static SumSquares args(const OpCase&, const TensorMap& t) {
    return {.sum = t.at("sum"), .x = t.at("x")};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    sum_squares(args(c, t), ctx);
  }
};

}  // namespace pivot::ref
