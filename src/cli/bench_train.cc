#include "kernels/cuda/blas.h"
#include "src/base/check.h"
#include "src/base/philox.h"
#include "src/cli/bench_measure.h"
#include "src/cli/command_line.h"
#include "src/eval/options.h"
#include "train/step.h"

namespace pivot {
namespace {

struct TrainBenchOptions : BenchOptions {
  ModelConfig model;
  int64_t seq_len = 1024;
  int64_t rows = 1;
  std::string recompute = "none";
  std::vector<std::string> attn = {"dense"};

  TrainBenchOptions() { model.vocab = 4096; }

  template <class V>
  void visit(V&& v) {
    v("seq_len", seq_len, "tokens of a row, one document");
    v("rows", rows, "rows of the step");
    v("recompute", recompute, "none, selective or full");
    v("attn", attn, "attention specs side by side; repeat it");
    v.group("model", model);
    BenchOptions::visit(v);
  }
};

/// Random tokens; every row is one document and every next token a target.
Batch random_batch(const TrainBenchOptions& o) {
  Batch batch;
  const Philox random(1, Stream::Test);
  const auto vocab = static_cast<uint64_t>(o.model.vocab);
  batch.rows = o.rows;
  batch.max_document = o.seq_len;
  batch.doc_offsets.push_back(0);
  for (int64_t row = 0; row < o.rows; ++row) {
    for (int64_t t = 0; t < o.seq_len; ++t) {
      const auto at = static_cast<uint64_t>(row * o.seq_len + t);
      batch.tokens.push_back(static_cast<int32_t>(random.below(vocab, at)));
      batch.targets.push_back(t + 1 < o.seq_len ? static_cast<int32_t>(random.below(vocab, at + 1))
                                                : kNoTarget);
      batch.positions.push_back(static_cast<int32_t>(t));
    }
    batch.doc_offsets.push_back(static_cast<int32_t>((row + 1) * o.seq_len));
  }
  return batch;
}

/// A model and its optimiser on one device; on the plan device without memory.
struct Trainee {
  Optimizer optimizer;
  DeviceBuffer frequencies;
  Model model;

  Trainee(const TrainBenchOptions& o, DType dtype, Context& ctx)
      : optimizer(o.model, OptimOptions{}, dtype, ctx),
        frequencies(ctx.device, static_cast<size_t>(o.model.head_dim) / 2 * sizeof(float)) {
    const std::vector<float> turns =
        rope_frequencies(o.model.head_dim, o.model.rope_theta, o.model.rope_scaling);
    model.config = o.model;
    model.gradient_order = o.deterministic ? GradientOrder::Fixed : GradientOrder::Any;
    init_params(o.model, optimizer.weights(), 1, ctx);
    optimizer.weights_changed(ctx);
    model.params = bind_params(o.model, optimizer.compute_weights());
    model.rope_frequencies = view(static_cast<float*>(frequencies.data()), {o.model.head_dim / 2});
    copy_from_host(model.rope_frequencies, turns.data(), ctx);
  }
};

}  // namespace

int run_bench_train(const std::vector<std::string>& args) {
  TrainBenchOptions options;
  CommandLine line("bench train", "Time a training step: forward, backward, AdamW");
  line.options(options);
  line.footer("'MFU' is the share of the measured peak of matrix products.");
  if (!line.parse(args)) return 0;
  validate(options.model);
  if (options.seq_len < 2 || options.rows < 1) {
    throw_user("--seq-len {} and --rows {}: too small", options.seq_len, options.rows);
  }
  const Recompute recompute = parse_recompute(options.recompute);
  const std::vector<std::string> specs = eval::join_specs(options.attn);
  std::vector<std::vector<AttentionPolicy>> policies;
  for (const std::string& spec : specs) {
    policies.push_back(parse_layer_policies(spec, options.model.layers));
  }

  Bench bench("bench train", options);
  if (bench.device().is_cuda()) {
    cuda::state<cuda::Blas>(bench.device().index).set_measuring(true);
  }
  const std::vector<Batch> batches = {random_batch(options)};
  Arena none(bench.device(), 0);
  Arena counting(plan_device(bench.device()), 0);
  Context host{none.device(), bench.pool(), none, nullptr};
  Context plan{counting.device(), bench.pool(), counting, nullptr};
  Trainee real(options, bench.dtype(), host);
  Trainee planned(options, bench.dtype(), plan);
  const auto tokens = static_cast<double>(options.rows * options.seq_len);
  double first = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    int64_t update = 0;
    StepGraphs graphs;
    BenchRow& row = bench.time(specs[i], [&](Context& ctx) {
      Trainee& trainee = ctx.device.is_plan() ? planned : real;
      trainee.model.attention = policies[i];
      train_step({.model = trainee.model,
                  .optimizer = trainee.optimizer,
                  .micro_batches = batches,
                  .recompute = recompute,
                  .lr = 1e-4,
                  .update = ++update,
                  .diagnose = false,
                  .graphs = &graphs},
                 ctx);
    });
    if (i == 0) first = row.seconds;
    row.more = {
        {"tokens/s", tokens / row.seconds},
        {"GiB", static_cast<double>(real.optimizer.weight_bytes() + real.optimizer.grad_bytes() +
                                    real.optimizer.moment_bytes() + row.scratch) /
                    0x1p30},
        {"MFU", row.cost.flops / row.seconds / bench.peak_flops()},
        {"x of " + specs[0], row.seconds / first}};
  }
  bench.finish();
  return 0;
}

}  // namespace pivot
