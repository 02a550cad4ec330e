// An optimiser step on CUDA: what the CPU computes, the same bits with and without a graph, and
// memory as planned. Emulated, matrix products are plain sums (tests/simt/emulated_blas.cu).
#include <cmath>
#include <limits>

#include "tests/support/cuda_context.h"
#include "tests/support/test_context.h"
#include "tests/train/tiny_run.h"
#include "train/step.h"

namespace pivot::test {
namespace {

constexpr size_t kArena = size_t{1} << 24;

template <class T>
std::vector<T> download(const Tensor& t, Context& ctx) {
  std::vector<T> values(static_cast<size_t>(t.count()));
  copy_to_host(values.data(), t, ctx);
  return values;
}

// A model with its optimiser on any device. `Memory` owns a context.
template <class Memory>
struct Trainee {
  Memory memory;
  Context& ctx;
  Optimizer optimizer;
  DeviceBuffer frequencies;
  Model model;
  StepGraphs graphs;

  Trainee(const ModelConfig& config, const std::string& spec, DType dtype)
      : memory(kArena), ctx(memory), optimizer(config, OptimOptions{}, dtype, ctx) {
    TestContext host(size_t{1} << 20, 1);
    std::vector<float> weights(static_cast<size_t>(parameter_count(config)));
    init_params(config, view(weights.data(), {parameter_count(config)}), 1, host.ctx);
    copy_from_host(optimizer.weights(), weights.data(), ctx);
    optimizer.weights_changed(ctx);
    const auto turns = rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling);
    frequencies = DeviceBuffer(ctx.device, turns.size() * sizeof(float));
    const Tensor table{frequencies.data(), DType::F32, {config.head_dim / 2}};
    copy_from_host(table, turns.data(), ctx);
    model = {.config = config,
             .params = bind_params(config, optimizer.compute_weights()),
             .rope_frequencies = table,
             .attention = parse_layer_policies(spec, config.layers)};
  }

  StepOutput step(const std::vector<Batch>& micro, int64_t update, bool graph,
                  double loss_limit = std::numeric_limits<double>::infinity()) {
    return train_step({.model = model,
                       .optimizer = optimizer,
                       .micro_batches = micro,
                       .recompute = Recompute::Selective,
                       .lr = 1e-2,
                       .update = update,
                       .diagnose = false,
                       .loss_limit = loss_limit,
                       .graphs = graph ? &graphs : nullptr},
                      ctx);
  }
  std::vector<float> weights() { return download<float>(optimizer.weights(), ctx); }
};

std::vector<Batch> rows_of(const Loader& loader, int64_t first) {
  return {loader.batch(first, 2), loader.batch(first + 2, 2)};
}

ModelConfig model_of() {
  ModelConfig config = tiny_model();
  config.qk_norm = true;
  return config;
}

constexpr const char* kSpecs[] = {"dense", "topk:k=4", "0:dense;1:topk:k=5,sink=1,group=sum"};

}  // namespace

TEST_CASE("cuda step: F32 gives the CPU's losses, gradients and norm") {
  const MemoryLoader loader;
  const ModelConfig config = model_of();
  for (const char* spec : kSpecs) {
    CAPTURE(spec);
    Trainee<TestContext> host(config, spec, DType::F32);
    Trainee<CudaTestContext> device(config, spec, DType::F32);
    const std::vector<Batch> micro = rows_of(loader, 0);
    const StepOutput want = host.step(micro, 1, false), got = device.step(micro, 1, false);
    REQUIRE(got.row_losses.size() == want.row_losses.size());
    CHECK(got.targets == want.targets);
    CHECK(got.applied);
    // fp32 sums of at most 128 terms in other orders: sqrt(128) 2^-24 each, through two layers.
    CHECK(got.loss == Approx(want.loss).epsilon(1e-5));
    CHECK(got.grad_norm == Approx(want.grad_norm).epsilon(1e-4));
    const std::vector<float> a = download<float>(host.optimizer.grads(), host.ctx);
    const std::vector<float> b = download<float>(device.optimizer.grads(), device.ctx);
    for (const ParamInfo& p : list_params(config)) {
      double worst = 0, largest = 0;
      for (int64_t j = p.offset; j < p.offset + p.shape.count(); ++j) {
        const auto i = static_cast<size_t>(j);
        worst = std::max(worst, std::abs(double{a[i]} - b[i]));
        largest = std::max(largest, std::abs(double{a[i]}));
      }
      CAPTURE(p.name, worst, largest);
      CHECK(largest > 0);
      CHECK(worst <= 1e-3 * largest);
    }
  }
}

TEST_CASE("cuda step: recorded as a graph it has the same bits, and other data") {
  const MemoryLoader loader;
  for (const char* spec : {"dense", "topk:k=4"}) {
    CAPTURE(spec);
    Trainee<CudaTestContext> plain(model_of(), spec, DType::BF16);
    Trainee<CudaTestContext> recorded(model_of(), spec, DType::BF16);
    std::vector<double> losses;
    for (int64_t i = 0; i < 4; ++i) {  // plain, recorded, launched, launched
      // Four rows on, documents are as many and as long: the graph of the first step fits.
      const std::vector<Batch> micro = rows_of(loader, 4 * i);
      const StepOutput a = plain.step(micro, i + 1, false);
      const StepOutput b = recorded.step(micro, i + 1, true);
      CHECK(a.loss == b.loss);
      CHECK(a.grad_norm == b.grad_norm);
      CHECK(a.row_losses == b.row_losses);
      losses.push_back(b.loss);
    }
    CHECK(plain.weights() == recorded.weights());
    CHECK(losses[2] != losses[3]);
  }
}

TEST_CASE("cuda step: what the gate refuses changes nothing, in graphs too") {
  const MemoryLoader loader;
  Trainee<CudaTestContext> t(model_of(), "topk:k=4", DType::BF16);
  const std::vector<Batch> micro = rows_of(loader, 0);
  for (int64_t i = 1; i <= 3; ++i) CHECK(t.step(micro, i, true).applied);
  const std::vector<float> weights = t.weights();
  const auto compute = [&] {
    std::vector<uint16_t> bits;
    for (const BFloat16 x : download<BFloat16>(t.optimizer.compute_weights(), t.ctx)) {
      bits.push_back(x.bits);
    }
    return bits;
  };
  const std::vector<uint16_t> rounded = compute();
  CHECK_FALSE(t.step(micro, 4, true, 0.0).applied);
  CHECK(t.weights() == weights);
  CHECK(compute() == rounded);
  CHECK(t.step(micro, 4, true).applied);
  CHECK(t.weights() != weights);

  // A weight that is not a number: the loss is none either, and nothing spreads.
  std::vector<float> broken = t.weights();
  broken[0] = std::numeric_limits<float>::quiet_NaN();
  for (size_t i = 0; i < 40 * 32; ++i) broken[i] = broken[0];  // the whole embedding
  copy_from_host(t.optimizer.weights(), broken.data(), t.ctx);
  t.optimizer.weights_changed(t.ctx);
  const StepOutput out = t.step(micro, 5, true);
  CHECK_FALSE(out.applied);
  CHECK_FALSE(std::isfinite(out.loss));
  const std::vector<float> after = t.weights();
  for (size_t i = 40 * 32; i < after.size(); ++i) REQUIRE(after[i] == broken[i]);
}

TEST_CASE("cuda step: the arena peaks exactly where the plan says") {
  const MemoryLoader loader;
  for (const DType dtype : {DType::F32, DType::BF16}) {
    for (const char* spec : {"dense", "topk:k=4"}) {
      CAPTURE(spec, dtype_name(dtype));
      Trainee<CudaTestContext> device(model_of(), spec, dtype);
      device.step(rows_of(loader, 0), 1, false);
      TestContext planned(size_t{1} << 40, 1, plan_device(Device{Device::Kind::Cuda}));
      const ModelConfig config = model_of();
      Optimizer optimizer(config, OptimOptions{}, dtype, planned);
      const Model model{.config = config,
                        .params = bind_params(config, optimizer.compute_weights()),
                        .rope_frequencies = {nullptr, DType::F32, {config.head_dim / 2}},
                        .attention = parse_layer_policies(spec, config.layers)};
      const std::vector<Batch> micro = {worst_batch(2, 32), worst_batch(2, 32)};
      train_step({.model = model,
                  .optimizer = optimizer,
                  .micro_batches = micro,
                  .recompute = Recompute::Selective,
                  .lr = 1e-2,
                  .update = 1,
                  .diagnose = false},
                 planned);
      CHECK(device.memory.arena.peak() == planned.arena.peak());
    }
  }
}

}  // namespace pivot::test
