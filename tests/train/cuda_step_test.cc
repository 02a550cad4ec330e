// An optimiser step on CUDA: what the CPU computes, the same bits with and without a graph, and
// memory as planned. Emulated, matrix products are plain sums (tests/simt/emulated_blas.cu).
#include <cmath>
#include <limits>

#include "tests/support/cuda_context.h"
#include "tests/support/test_context.h"
#include "tests/train/fake_source.h"
#include "tests/train/tiny_run.h"
#include "train/step.h"
#include "train/trainee.h"

namespace pivot::test {
namespace {

constexpr size_t kArena = size_t{1} << 24;

template <class T>
std::vector<T> download(const Tensor& t, Context& ctx) {
  std::vector<T> values(static_cast<size_t>(t.count()));
  copy_to_host(values.data(), t, ctx);
  return values;
}

// What the tests train: everything, or adapters.
TrainOptions options_of(const ModelConfig& config, int64_t rank = 0) {
  TrainOptions o;
  o.model = config;
  o.lora.rank = rank;
  return o;
}

// A model with its optimiser on any device. `Memory` owns a context.
template <class Memory>
struct Run {
  Memory memory;
  Context& ctx;
  Trainee trainee;
  StepGraphs graphs;

  Run(const TrainOptions& options, const std::string& spec, DType dtype)
      : memory(kArena), ctx(memory), trainee(options, {ctx.device, dtype}, ctx) {
    const FakeSource source(options.model, 1);
    trainee.read_weights(source, ctx);
    if (trainee.has_adapters()) {
      // B not zero, as after some steps: A has gradients too.
      std::vector<float> values(static_cast<size_t>(trainee.optimizer().weights().count()));
      const Philox random(6, Stream::Test);
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<float>(0.05 * random.normal(i));
      }
      copy_from_host(trainee.optimizer().weights(), values.data(), ctx);
    }
    trainee.weights_changed(ctx);
    trainee.model().attention = parse_layer_policies(spec, options.model.layers);
  }

  StepOutput step(const std::vector<Batch>& micro, int64_t update, bool graph,
                  double loss_limit = std::numeric_limits<double>::infinity()) {
    return train_step({.model = trainee.model(),
                       .optimizer = trainee.optimizer(),
                       .micro_batches = micro,
                       .recompute = Recompute::Selective,
                       .lr = 1e-2,
                       .update = update,
                       .diagnose = false,
                       .loss_limit = loss_limit,
                       .graphs = graph ? &graphs : nullptr},
                      ctx);
  }
  std::vector<float> weights() { return download<float>(trainee.optimizer().weights(), ctx); }
  std::vector<float> grads() { return download<float>(trainee.optimizer().grads(), ctx); }
};

std::vector<Batch> rows_of(const Loader& loader, int64_t first) {
  return {loader.batch(first, 2), loader.batch(first + 2, 2)};
}

ModelConfig model_of() {
  ModelConfig config = tiny_model();
  config.qk_norm = true;
  return config;
}

// Shapes of families: SmolLM2 (nine heads on three, tied), Llama 3 (eight on one), Qwen2 (bias).
std::vector<ModelConfig> families() {
  ModelConfig smol = tiny_model();
  smol.heads = 9;
  smol.kv_heads = 3;
  smol.head_dim = 64;
  ModelConfig llama = tiny_model();
  llama.heads = 8;
  llama.tied_embeddings = false;
  ModelConfig qwen = tiny_model();
  qwen.heads = 3;
  qwen.qkv_bias = true;
  qwen.qk_norm = true;
  return {smol, llama, qwen};
}

constexpr const char* kSpecs[] = {"dense", "topk:k=4", "0:dense;1:topk:k=5,sink=1,group=sum"};

// Cosine of the angle between two gradients of one tensor.
double cosine(const std::vector<float>& a, const std::vector<float>& b, const ParamInfo& p) {
  double dot = 0, aa = 0, bb = 0;
  for (int64_t j = p.offset; j < p.offset + p.shape.count(); ++j) {
    const auto i = static_cast<size_t>(j);
    dot += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return dot / std::sqrt(aa * bb);
}

// Losses, norm and every gradient of a step in F32 are the CPU's.
void check_against_cpu(const TrainOptions& options, const char* spec) {
  const MemoryLoader loader;
  Run<TestContext> host(options, spec, DType::F32);
  Run<CudaTestContext> device(options, spec, DType::F32);
  const std::vector<Batch> micro = rows_of(loader, 0);
  const StepOutput want = host.step(micro, 1, false), got = device.step(micro, 1, false);
  REQUIRE(got.row_losses.size() == want.row_losses.size());
  CHECK(got.targets == want.targets);
  CHECK(got.applied);
  // fp32 sums of at most 128 terms in other orders: sqrt(128) 2^-24 each, through two layers.
  CHECK(got.loss == Approx(want.loss).epsilon(1e-5));
  CHECK(got.grad_norm == Approx(want.grad_norm).epsilon(1e-4));
  const std::vector<float> a = host.grads(), b = device.grads();
  for (const ParamInfo& p : host.trainee.trained()) {
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

// In BF16 they point the same way: of two layers rounded to 8 bits dense gradients keep 0.99, and
// sparse ones where a key near the threshold changes places somewhat less.
void check_bf16(const TrainOptions& options, const char* spec) {
  const MemoryLoader loader;
  Run<TestContext> host(options, spec, DType::F32);
  Run<CudaTestContext> device(options, spec, DType::BF16);
  const std::vector<Batch> micro = rows_of(loader, 0);
  const StepOutput want = host.step(micro, 1, false), got = device.step(micro, 1, false);
  CHECK(got.applied);
  CHECK(got.loss == Approx(want.loss).epsilon(5e-3));
  CHECK(got.grad_norm == Approx(want.grad_norm).epsilon(5e-2));
  const std::vector<float> a = host.grads(), b = device.grads();
  for (const ParamInfo& p : host.trainee.trained()) {
    CAPTURE(p.name, cosine(a, b, p));
    CHECK(cosine(a, b, p) > 0.98);
  }
}

}  // namespace

TEST_CASE("cuda step: F32 gives the CPU's losses, gradients and norm") {
  for (const char* spec : kSpecs) {
    CAPTURE(spec);
    check_against_cpu(options_of(model_of()), spec);
  }
}

TEST_CASE("cuda step: every family's shapes, in F32 and in BF16") {
  for (const ModelConfig& config : families()) {
    for (const char* spec : {"dense", "topk:k=4"}) {
      CAPTURE(config.heads, config.kv_heads, spec);
      check_against_cpu(options_of(config), spec);
      check_bf16(options_of(config), spec);
    }
  }
}

TEST_CASE("cuda step: adapters have the CPU's gradients, in F32 and in BF16") {
  TrainOptions options = options_of(families().back(), 4);
  check_against_cpu(options, "topk:k=4");
  check_bf16(options, "dense");
  options.lora.targets = {"q_proj", "v_proj", "down_proj"};
  check_against_cpu(options, "dense");
}

TEST_CASE("cuda step: recorded as a graph it has the same bits, and other data") {
  const MemoryLoader loader;
  const std::pair<const char*, TrainOptions> runs[] = {{"dense", options_of(model_of(), 4)},
                                                       {"topk:k=4", options_of(model_of())}};
  for (const auto& [spec, options] : runs) {
    CAPTURE(spec, options.lora.rank);
    Run<CudaTestContext> plain(options, spec, DType::BF16);
    Run<CudaTestContext> recorded(options, spec, DType::BF16);
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
  Run<CudaTestContext> t(options_of(model_of()), "topk:k=4", DType::BF16);
  const std::vector<Batch> micro = rows_of(loader, 0);
  for (int64_t i = 1; i <= 3; ++i) CHECK(t.step(micro, i, true).applied);
  const std::vector<float> weights = t.weights();
  const auto compute = [&] {
    std::vector<uint16_t> bits;
    for (const BFloat16 x : download<BFloat16>(t.trainee.optimizer().compute_weights(), t.ctx)) {
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
  copy_from_host(t.trainee.optimizer().weights(), broken.data(), t.ctx);
  t.trainee.optimizer().weights_changed(t.ctx);
  const StepOutput out = t.step(micro, 5, true);
  CHECK_FALSE(out.applied);
  CHECK_FALSE(std::isfinite(out.loss));
  const std::vector<float> after = t.weights();
  for (size_t i = 40 * 32; i < after.size(); ++i) REQUIRE(after[i] == broken[i]);
}

TEST_CASE("cuda step: the arena peaks exactly where the plan says") {
  const MemoryLoader loader;
  for (const int64_t rank : {0, 4}) {
    for (const DType dtype : {DType::F32, DType::BF16}) {
      for (const char* spec : {"dense", "topk:k=4"}) {
        CAPTURE(rank, spec, dtype_name(dtype));
        const TrainOptions options = options_of(model_of(), rank);
        Run<CudaTestContext> device(options, spec, dtype);
        device.step(rows_of(loader, 0), 1, false);
        TestContext planned(size_t{1} << 40, 1, plan_device(Device{Device::Kind::Cuda}));
        Trainee trainee(options, {planned.ctx.device, dtype}, planned);
        trainee.model().attention = parse_layer_policies(spec, options.model.layers);
        const std::vector<Batch> micro = {worst_batch(2, 32), worst_batch(2, 32)};
        train_step({.model = trainee.model(),
                    .optimizer = trainee.optimizer(),
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
}

TEST_CASE(
    "cuda step: weights are read in BF16 pieces, merged ones are what the device computes with") {
  const ModelConfig config = families().back();
  Run<CudaTestContext> t(options_of(config, 4), "topk:k=4", DType::BF16);
  const FakeSource source(config, 1);
  CHECK(t.trainee.weight_bytes() ==
        2 * source.weights.size() + 6 * static_cast<size_t>(t.weights().size()));
  const std::vector<BFloat16> base =
      download<BFloat16>(t.trainee.model().params.layer[1].down, t.ctx);
  const std::vector<ParamInfo> params = list_params(config);
  const ParamInfo& down = params[params.size() - 2];
  REQUIRE(down.name == "layers.1.down.weight");
  for (size_t i = 0; i < base.size(); ++i) {
    REQUIRE(base[i].bits == to_bfloat16(source.weights[static_cast<size_t>(down.offset) + i]).bits);
  }
  const MergedModel on_device(t.trainee.model(), t.ctx);
  const MergedSource for_files(t.trainee.model(), source.info(), t.ctx);
  CHECK(for_files.stored_type(down) == DType::BF16);
  std::vector<float> host(static_cast<size_t>(down.shape.count()));
  for_files.read(down, 0, 5, host.data());
  for_files.read(down, 5, down.shape[0], host.data() + 5 * down.shape[1]);
  const std::vector<BFloat16> rounded =
      download<BFloat16>(on_device.model().params.layer[1].down, t.ctx);
  for (size_t i = 0; i < rounded.size(); ++i) {
    REQUIRE(to_float(rounded[i]) == host[i]);
  }
  // A step of the merged model has the loss of the adapted one, bit for bit.
  const MemoryLoader loader;
  const double adapted = loss_sum(t.trainee.model(), loader.batch(0, 2), t.ctx);
  CHECK(loss_sum(on_device.model(), loader.batch(0, 2), t.ctx) == adapted);
}

}  // namespace pivot::test
