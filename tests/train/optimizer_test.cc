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
  Optimizer optimizer(config, options, t.ctx);
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
    const double norm = optimizer.grad_norm(t.ctx);
    CHECK(norm == Approx(std::sqrt(squares)).epsilon(1e-6));
    const double scale = optimizer.clip_factor(norm);
    CHECK(scale == Approx(std::min(1.0, 5.0 / std::sqrt(squares))).epsilon(1e-6));
    (scale < 1 ? clipped : unclipped) = true;
    optimizer.update(options.lr, scale, step, t.ctx);
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

TEST_CASE("optimizer: clipping off, NaN seen, plan device takes no memory") {
  TestContext t;
  OptimOptions options;
  options.grad_clip = 0;
  Optimizer optimizer(tiny_model(), options, t.ctx);
  CHECK(optimizer.clip_factor(1e9) == 1);
  optimizer.grads().as<float>()[17] = NAN;
  CHECK_FALSE(std::isfinite(optimizer.grad_norm(t.ctx)));
  optimizer.zero_grads(t.ctx);
  CHECK(optimizer.grad_norm(t.ctx) == 0);

  TestContext plan(0, 2, {Device::Kind::Plan, 0});
  Optimizer planned(tiny_model(), options, plan.ctx);
  CHECK(planned.weights().data == nullptr);
  CHECK(planned.bytes() == 4 * sizeof(float) * static_cast<size_t>(parameter_count(tiny_model())));
}

}  // namespace
}  // namespace pivot::test
