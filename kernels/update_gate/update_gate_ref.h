#pragma once
/// Reference of the gate before an update.

#include "kernels/adamw/adamw.h"
#include "kernels/reference.h"
#include "kernels/update_gate/update_gate.h"

namespace pivot::ref {

struct UpdateGateRef {
  static constexpr const char* kName = "update_gate";
  static constexpr float kGradClip = 2;
  static constexpr double kTargets = 3;

  static std::vector<OpCase> cases() {
    // p, up to 4, selects the squared gradient norm (see adjust).
    std::vector<OpCase> cases = standard_cases({{"clipped", {.n = 7, .p = 1}},
                                                {"one token, not clipped", {.n = 1, .p = 0}},
                                                {"many", {.n = 70001, .p = 1}},
                                                {"norm is NaN", {.n = 100, .p = 2}},
                                                {"loss above the limit", {.n = 33, .p = 4}},
                                                {"empty", {.n = 0, .p = 1}}});
    cases.push_back({"norm is infinite", {.n = 100, .p = 3}, Values::Large});
    return cases;
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"scalars", Role::InOut, {kAdamWScalars}},
            {"result", Role::Out, {3}},
            {"losses", Role::In, {c.dims.n}},
            {"norm_squared", Role::In, {1}},
            {"limits", Role::In, {2}}};
  }
  /// Losses are not negative; the limit is infinite, or 1 where all losses are 4.
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const double squared[] = {2.25, 81, std::nan(""), kInfinity, 1};
    const int64_t kind = std::min<int64_t>(c.dims.p, 4);
    for (double& loss : t["losses"]) loss = kind == 4 ? 4 : std::abs(loss);
    t["norm_squared"] = {squared[kind]};
    t["limits"] = {kTargets, kind == 4 ? 1 : kInfinity};
  }

  /// The op adds in fp64: only results are rounded.
  template <class S>
  static void run(const OpCase&, ValueMap<S>& t) {
    double total = 0;
    for (const S& loss : t["losses"]) total += number(loss);
    const double loss = total / number(t["limits"][0]);
    const double norm = std::sqrt(number(t["norm_squared"][0])) / number(t["limits"][0]);
    const bool apply = std::isfinite(loss) && std::isfinite(norm) && loss <= number(t["limits"][1]);
    const double factor = norm > kGradClip ? kGradClip / norm : 1;
    t["scalars"][3] = rounded<S>(factor / number(t["limits"][0]));
    t["scalars"][4] = S(apply ? 1 : 0);
    t["result"] = {rounded<S>(loss), rounded<S>(norm), t["scalars"][4]};
  }
  static UpdateGate args(const OpCase&, const TensorMap& t) {
    return {.scalars = t.at("scalars"),
            .result = t.at("result"),
            .losses = t.at("losses"),
            .norm_squared = t.at("norm_squared"),
            .limits = t.at("limits"),
            .grad_clip = kGradClip};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    update_gate(args(c, t), ctx);
  }
};

}  // namespace pivot::ref
