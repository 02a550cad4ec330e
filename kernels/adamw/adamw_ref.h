#pragma once
/// Reference of AdamW.

#include "kernels/adamw/adamw.h"
#include "kernels/reference.h"

namespace pivot::ref {

struct AdamWRef {
  static constexpr const char* kName = "adamw";
  static constexpr float kLr = 3e-3F;
  static constexpr float kBeta1 = 0.9F;
  static constexpr float kBeta2 = 0.95F;
  static constexpr float kEps = 1e-8F;
  static constexpr float kGradScale = 0.5F;
  static constexpr int64_t kStep = 7;

  static std::vector<OpCase> cases() {
    return standard_cases({{"odd", {.p = 1001}},
                           {"three", {.p = 3}},
                           {"tasks", {.p = 140003}},
                           {"empty", {.n = 0, .p = 0}}});
  }
  /// The bf16 copy exists where activations are bf16.
  static std::vector<Operand> operands(const OpCase& c) {
    std::vector<Operand> list = {{"param", Role::InOut, {c.dims.p}},
                                 {"m", Role::InOut, {c.dims.p}},
                                 {"v", Role::InOut, {c.dims.p}},
                                 {"grad", Role::In, {c.dims.p}},
                                 {"segment_end", Role::In, {3}, DType::I64},
                                 {"decay", Role::In, {3}},
                                 {"scalars", Role::In, {kAdamWScalars}}};
    if (c.real == DType::BF16) list.push_back({"copy_bf16", Role::Out, {c.dims.p}, c.real});
    return list;
  }
  /// Three segments, the middle one without decay; second moments are not negative.
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    const auto p = static_cast<double>(c.dims.p);
    t["segment_end"] = {std::floor(p / 3), std::floor(p / 2), p};
    t["decay"] = {0.125, 0, 0.5};
    for (double& v : t["v"]) v = std::abs(v);
    const AdamWScalars s = adamw_scalars(kLr, kBeta1, kBeta2, kStep);
    t["scalars"] = {s.lr, s.correction1, s.root_correction2, kGradScale, s.apply};
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    const double bias1 = 1 - std::pow(static_cast<double>(kBeta1), kStep);
    const double bias2 = 1 - std::pow(static_cast<double>(kBeta2), kStep);
    for (int64_t i = 0; i < c.dims.p; ++i) {
      size_t segment = 0;
      while (i >= integer(t["segment_end"][segment])) ++segment;
      S& m = t["m"][i];
      S& v = t["v"][i];
      S& param = t["param"][i];
      const S g = S(kGradScale) * t["grad"][i];
      m = S(kBeta1) * m + rounded<S>(1 - static_cast<double>(kBeta1)) * g;
      v = S(kBeta2) * v + rounded<S>(1 - static_cast<double>(kBeta2)) * (g * g);
      const S direction = m / rounded<S>(bias1) / (square_root(v / rounded<S>(bias2)) + S(kEps));
      param = param - S(kLr) * (direction + t["decay"][segment] * param);
      if (t.count("copy_bf16") > 0) t["copy_bf16"][i] = param;
    }
  }
  static AdamW args(const OpCase&, const TensorMap& t) {
    return {.param = t.at("param"),
            .m = t.at("m"),
            .v = t.at("v"),
            .grad = t.at("grad"),
            .copy_bf16 = find(t, "copy_bf16"),
            .segment_end = t.at("segment_end"),
            .decay = t.at("decay"),
            .scalars = t.at("scalars"),
            .beta1 = kBeta1,
            .beta2 = kBeta2,
            .eps = kEps};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) { adamw(args(c, t), ctx); }
};

}  // namespace pivot::ref
