#include "train/step.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/test_context.h"
#include "tests/train/tiny_run.h"

namespace pivot::test {
namespace {

// A model with its optimiser, ready for train_step().
struct Bench {
  TestContext t;
  Optimizer optimizer;
  std::vector<float> frequencies;
  Model model;

  explicit Bench(const ModelConfig& config, const std::string& spec = "topk:k=4", int threads = 2)
      : t(size_t{1} << 26, threads), optimizer(config, OptimOptions{}, DType::F32, t.ctx) {
    init_params(config, optimizer.weights(), 1, t.ctx);
    frequencies = rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling);
    model = {.config = config,
             .params = bind_params(config, optimizer.weights()),
             .rope_frequencies = view(frequencies.data(), {config.head_dim / 2}),
             .attention = parse_layer_policies(spec, config.layers)};
  }

  StepOutput step(const std::vector<Batch>& micro, bool accept, bool diagnose = false,
                  Recompute recompute = Recompute::None) {
    return train_step({.model = model,
                       .optimizer = optimizer,
                       .micro_batches = micro,
                       .recompute = recompute,
                       .lr = 1e-2,
                       .update = 1,
                       .diagnose = diagnose,
                       .loss_limit = accept ? std::numeric_limits<double>::infinity() : -1.0},
                      t.ctx);
  }
};

std::vector<Batch> cut(const Loader& loader, int64_t first, int64_t rows, int64_t micro) {
  std::vector<Batch> batches;
  for (int64_t r = first; r < first + rows; r += micro) batches.push_back(loader.batch(r, micro));
  return batches;
}

TEST_CASE("step: one batch of eight rows and eight of one have the same loss and gradient") {
  const MemoryLoader loader;
  const ModelConfig config = tiny_model();
  Bench whole(config), parts(config);
  const std::vector<Batch> one = cut(loader, 0, 8, 8), eight = cut(loader, 0, 8, 1);
  // Ragged: rows differ in their number of targets, so that a mean of means would be wrong.
  REQUIRE(eight[0].valid_targets() != eight[1].valid_targets());
  const StepOutput a = whole.step(one, false), b = parts.step(eight, false);
  CHECK(a.targets == b.targets);
  CHECK(a.loss == Approx(b.loss).epsilon(1e-6));
  CHECK(a.row_losses.size() == 8);

  // What the rows contribute one by one bounds what rounding can do in any order of summation:
  // N terms each of relative error 2^-24, adding up at random.
  std::vector<double> magnitude(static_cast<size_t>(parameter_count(config)));
  for (const Batch& row : eight) {
    Bench alone(config);
    alone.step({row}, false);
    const std::vector<float> g = values_of(alone.optimizer.grads());
    for (size_t i = 0; i < g.size(); ++i) magnitude[i] += std::abs(g[i]);
  }
  const std::vector<float> ga = values_of(whole.optimizer.grads());
  const std::vector<float> gb = values_of(parts.optimizer.grads());
  for (const ParamInfo& p : list_params(config)) {
    double worst = 0, scale = 0, size = 0;
    for (int64_t j = p.offset; j < p.offset + p.shape.count(); ++j) {
      const auto i = static_cast<size_t>(j);
      worst = std::max(worst, std::abs(double{ga[i]} - gb[i]));
      scale = std::max(scale, magnitude[i]);
      size = std::max(size, std::abs(double{ga[i]}));
    }
    CAPTURE(p.name, worst, scale);
    CHECK(size > 0);
    CHECK(worst <= 4 * std::sqrt(256.0) * 0x1p-24 * scale);
  }
}

TEST_CASE("step: a refused step leaves weights and moments as they were") {
  const MemoryLoader loader;
  Bench bench(tiny_model());
  bench.step(cut(loader, 0, 4, 2), true);
  const auto w = values_of(bench.optimizer.weights()), m = values_of(bench.optimizer.m()),
             v = values_of(bench.optimizer.v());
  CHECK_FALSE(bench.step(cut(loader, 4, 4, 2), false).applied);
  CHECK(values_of(bench.optimizer.weights()) == w);
  CHECK(values_of(bench.optimizer.m()) == m);
  CHECK(values_of(bench.optimizer.v()) == v);
  CHECK(bench.step(cut(loader, 4, 4, 2), true).applied);
  CHECK(values_of(bench.optimizer.weights()) != w);
}

TEST_CASE("step: recomputation, statistics and threads change no bit") {
  const MemoryLoader loader;
  ModelConfig config = tiny_model();
  config.qk_norm = true;
  const std::vector<Batch> micro = cut(loader, 0, 8, 4);
  Bench plain(config);
  const StepOutput want = plain.step(micro, true);
  const auto weights = values_of(plain.optimizer.weights());
  const auto same = [&](Bench& bench, const StepOutput& got) {
    CHECK(got.loss == want.loss);
    CHECK(got.grad_norm == want.grad_norm);
    CHECK(values_of(bench.optimizer.weights()) == weights);
  };
  for (const Recompute recompute : {Recompute::Selective, Recompute::Full}) {
    CAPTURE(to_string(recompute));
    Bench bench(config);
    same(bench, bench.step(micro, true, false, recompute));
  }
  Bench diagnosed(config);
  same(diagnosed, diagnosed.step(micro, true, true));
  Bench single(config, "topk:k=4", 1), many(config, "topk:k=4", 5);
  same(single, single.step(micro, true));
  same(many, many.step(micro, true));
}

TEST_CASE("step: diagnostics tell what attention kept") {
  const MemoryLoader loader;
  const std::vector<Batch> micro = cut(loader, 0, 4, 2);
  Bench bench(tiny_model(), "*:topk:k=4;0:dense");
  const StepOutput out = bench.step(micro, false, true);
  REQUIRE(out.diagnostics.has_value());
  const auto& layers = out.diagnostics->layers;
  REQUIRE(layers.size() == 2);
  REQUIRE(layers[0].kept_mass.size() == 2);
  CHECK(layers[0].kept_mass[0] == Approx(1).epsilon(1e-5));
  CHECK(layers[1].kept_mass[1] < 0.9);
  CHECK(layers[1].kept_mass[1] > 0.05);
  // Weights are small at the start: attention is nearly even over k keys.
  double k_dense = 0, k_sparse = 0, entropy = 0, rows = 0;
  for (const Batch& b : micro) {
    for (const int32_t p : b.positions) {
      k_dense += p + 1;
      k_sparse += std::min(p + 1, 4);
      entropy += std::log(std::min(p + 1, 4));
      ++rows;
    }
  }
  CHECK(layers[0].k == Approx(k_dense / rows));
  CHECK(layers[1].k == Approx(k_sparse / rows));
  CHECK(layers[1].entropy[0] == Approx(entropy / rows).epsilon(0.02));
  CHECK(out.diagnostics->kept_mass == Approx((layers[0].kept_mass[0] + layers[0].kept_mass[1] +
                                              layers[1].kept_mass[0] + layers[1].kept_mass[1]) /
                                             4));
}

TEST_CASE("step: a step without targets has loss 0 and gradient 0") {
  const MemoryLoader loader;
  Bench bench(tiny_model());
  Batch empty = loader.batch(0, 2);
  for (int32_t& target : empty.targets) target = kNoTarget;
  const StepOutput out = bench.step({empty}, true);
  CHECK(out.targets == 0);
  CHECK(out.loss == 0);
  CHECK(out.grad_norm == 0);
}

}  // namespace
}  // namespace pivot::test
