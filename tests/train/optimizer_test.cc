#include "train/optimizer.h"

#include <cmath>

#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"
#include "tests/train/tiny_run.h"

namespace pivot::test {
namespace {

TEST_CASE("optimizer: ten clipped AdamW steps agree with a loop in double") {
  TestContext t;
  ModelConfig config = tiny_model();
  config.qkv_bias = true;
  config.qk_norm = true;
  OptimOptions options;
  options.lr = 1e-2;
  options.weight_decay = 0.3;
  options.grad_clip = 5;
  Optimizer optimizer(config, options, DType::F32, t.ctx);
  init_params(config, optimizer.weights(), 3, t.ctx);
  const auto count = static_cast<size_t>(parameter_count(config));

  std::vector<double> w(count), m(count), v(count), decay(count);
  for (size_t i = 0; i < count; ++i) w[i] = optimizer.weights().as<float>()[i];
  for (const ParamInfo& p : list_params(config)) {
    for (int64_t i = p.offset; i < p.offset + p.shape.count(); ++i) {
      decay[static_cast<size_t>(i)] = p.decay == Decay::Yes ? options.weight_decay : 0;
    }
  }
  bool clipped = false, unclipped = false;
  for (int64_t step = 1; step <= 10; ++step) {
    const Philox random(5, Stream::Test, static_cast<uint32_t>(step));
    const double size = step % 2 == 0 ? 0.2 : 0.001;
    double squares = 0;
    for (size_t i = 0; i < count; ++i) {
      optimizer.grads().as<float>()[i] = static_cast<float>(size * random.normal(i));
      squares += std::pow(static_cast<double>(optimizer.grads().as<float>()[i]), 2);
    }
    // Gradients are sums over the targets, losses one for each.
    constexpr int64_t kTargets = 3;
    const double norm = std::sqrt(squares) / kTargets;
    const double scale = std::min(1.0, options.grad_clip / norm) / kTargets;
    (scale * kTargets < 1 ? clipped : unclipped) = true;
    std::vector<float> losses{1.5F, 0, 2, 1};
    optimizer.prepare({options.lr, step, kTargets}, t.ctx);
    optimizer.update(view(losses.data(), {4}), t.ctx);
    const UpdateResult result = optimizer.result(t.ctx);
    CHECK(result.applied == 1);
    CHECK(result.loss == 1.5F);
    CHECK(result.grad_norm == Approx(norm).epsilon(1e-6));
    for (size_t i = 0; i < count; ++i) {
      const double g = scale * static_cast<double>(optimizer.grads().as<float>()[i]);
      m[i] = options.beta1 * m[i] + (1 - options.beta1) * g;
      v[i] = options.beta2 * v[i] + (1 - options.beta2) * g * g;
      const double mhat = m[i] / (1 - std::pow(options.beta1, step));
      const double vhat = v[i] / (1 - std::pow(options.beta2, step));
      w[i] -= options.lr * (mhat / (std::sqrt(vhat) + options.eps) + decay[i] * w[i]);
    }
  }
  CHECK(clipped);
  CHECK(unclipped);
  // A step moves a weight by about lr with a relative rounding of a few 2^-24 in every factor.
  double worst = 0;
  for (size_t i = 0; i < count; ++i) {
    const double got = optimizer.weights().as<float>()[i];
    worst = std::max(worst, std::abs(got - w[i]) / (10 * (options.lr + std::abs(w[i]))));
  }
  CAPTURE(worst);
  CHECK(worst < 16 * 0x1p-24);
}

TEST_CASE("optimizer: a NaN and a loss above the limit change nothing, and are told") {
  TestContext t;
  OptimOptions options;
  options.grad_clip = 0;
  Optimizer optimizer(tiny_model(), options, DType::F32, t.ctx);
  init_params(tiny_model(), optimizer.weights(), 3, t.ctx);
  const std::vector<float> before = values_of(optimizer.weights());
  std::vector<float> losses{4, 2};
  const auto update = [&](double limit) {
    optimizer.prepare({1e-2, 1, 2, limit}, t.ctx);
    optimizer.update(view(losses.data(), {2}), t.ctx);
    return optimizer.result(t.ctx);
  };
  optimizer.grads().as<float>()[17] = 1e6F;
  CHECK(update(2.9).applied == 0);
  CHECK(update(2.9).loss == 3);
  CHECK(values_of(optimizer.weights()) == before);
  optimizer.grads().as<float>()[17] = NAN;
  CHECK(update(1e9).applied == 0);
  CHECK(values_of(optimizer.weights()) == before);
  optimizer.zero_grads(t.ctx);
  losses[0] = INFINITY;
  CHECK(update(std::numeric_limits<double>::infinity()).applied == 0);
  losses[0] = 4;
  CHECK(update(3).applied == 1);
  CHECK(update(3).grad_norm == 0);
}

TEST_CASE("optimizer: the plan device takes no memory and counts it") {
  TestContext plan(0, 2, {Device::Kind::Plan, 0});
  const auto count = static_cast<size_t>(parameter_count(tiny_model()));
  Optimizer planned(tiny_model(), OptimOptions{}, DType::BF16, plan.ctx);
  CHECK(planned.weights().data == nullptr);
  CHECK(planned.weight_bytes() == 6 * count);
  CHECK(planned.grad_bytes() == 4 * count);
  CHECK(planned.moment_bytes() == 8 * count);
  CHECK(Optimizer(tiny_model(), OptimOptions{}, DType::F32, plan.ctx).weight_bytes() == 4 * count);
}

TEST_CASE("optimizer: rounded weights follow the master weights") {
  TestContext t;
  Optimizer optimizer(tiny_model(), OptimOptions{}, DType::BF16, t.ctx);
  init_params(tiny_model(), optimizer.weights(), 3, t.ctx);
  const auto rounded = [&] {
    const float* w = optimizer.weights().as<float>();
    const BFloat16* c = optimizer.compute_weights().as<BFloat16>();
    int64_t wrong = 0;
    for (int64_t i = 0; i < optimizer.weights().count(); ++i) {
      wrong += static_cast<int64_t>(c[i].bits != to_bfloat16(w[i]).bits);
    }
    return wrong;
  };
  CHECK(rounded() > 0);
  optimizer.weights_changed(t.ctx);
  CHECK(rounded() == 0);
  std::vector<float> losses{1};
  for (int64_t i = 0; i < optimizer.grads().count(); ++i) optimizer.grads().as<float>()[i] = 1;
  optimizer.prepare({1e-1, 1, 1}, t.ctx);
  optimizer.update(view(losses.data(), {1}), t.ctx);
  CHECK(rounded() == 0);
}

}  // namespace
}  // namespace pivot::test
