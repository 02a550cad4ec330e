#include "train/calibrate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/matmul/matmul.h"
#include "kernels/swiglu/swiglu.h"
#include "src/base/philox.h"
#include "src/core/cuda.h"
#include "train/step.h"
#include "train/trainee.h"

namespace pivot {
namespace {

constexpr int64_t kMatmulSize = 768;             // beyond it a CPU's rate no longer grows
constexpr int64_t kGpuMatmulSize = 8192;         // nor a GPU's
constexpr double kMatmulSeconds = 0.15;          // enough repeats for the best to be stable
constexpr double kAttentionFlops = 4e9;          // of one dense forward pass that is timed
constexpr double kGpuAttentionFlops = 1e12;      // the same on a GPU
constexpr int64_t kElements = int64_t{1} << 22;  // 16 MiB a tensor: outside the caches
constexpr int64_t kGpuElements = int64_t{1} << 28;

bool on_gpu(const Context& ctx) {
  return ctx.device.target() == Device::Kind::Cuda;
}

double seconds_of(const std::function<void()>& call, const Context& ctx) {
  if (ctx.device.is_cuda()) {
    cuda::Stopwatch watch(ctx.device.index);
    watch.start();
    call();
    return watch.stop();
  }
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Best of repeats that take `seconds` in all, at least two.
double best_seconds(double seconds, const std::function<void()>& call, const Context& ctx) {
  double best = std::numeric_limits<double>::infinity(), sum = 0;
  for (int i = 0; i < 2 || sum < seconds; ++i) {
    const double t = seconds_of(call, ctx);
    best = std::min(best, t);
    sum += t;
  }
  return best;
}

// Runs `call` on the plan device for its peak of memory, then gives it a context of that size.
struct Bench {
  ThreadPool& pool;
  Arena arena;
  Context ctx;

  Bench(const Compute& compute, ThreadPool& threads, const std::function<void(Context&)>& call)
      : pool(threads),
        arena(compute.device, peak_of(compute, threads, call)),
        ctx{compute.device, pool, arena} {}

  static size_t peak_of(const Compute& compute, ThreadPool& threads,
                        const std::function<void(Context&)>& call) {
    const Device device = plan_device(compute.device);
    Arena counting(device, 0);
    Context plan{device, threads, counting};
    call(plan);
    return counting.peak();
  }
};

// Uniform in [-0.5, 0.5).
void fill_random(const Tensor& t, Context& ctx, uint32_t stream) {
  if (ctx.device.is_plan()) return;
  const Philox random(1, Stream::Noise, stream);
  std::vector<float> x(static_cast<size_t>(t.count()));
  ctx.pool.for_ranges(t.count(), 65536, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      x[static_cast<size_t>(i)] = random.uniform(static_cast<uint64_t>(i)) - 0.5F;
    }
  });
  if (t.dtype == DType::F32) return copy_from_host(t, x.data(), ctx);
  std::vector<BFloat16> rounded(x.size());
  for (size_t i = 0; i < x.size(); ++i) rounded[i] = to_bfloat16(x[i]);
  copy_from_host(t, rounded.data(), ctx);
}

double element_rate(const Compute& compute, ThreadPool& pool) {
  double rate = 0;
  const auto call = [&](Context& ctx) {
    const Arena::Scope scope = ctx.scratch.scope();
    const int64_t rows = (on_gpu(ctx) ? kGpuElements : kElements) / 4096;
    const Tensor x = ctx.scratch.tensor(compute.dtype, {rows, 2, 2048});
    const Tensor y = ctx.scratch.tensor(compute.dtype, {rows, 2048});
    fill_random(x, ctx, 0);
    const SwigluForward args{.y = y, .gate_up = x};
    if (ctx.device.is_plan()) return swiglu_forward(args, ctx);
    rate = cost(args).bytes / best_seconds(
                                  0.05, [&] { swiglu_forward(args, ctx); }, ctx);
  };
  Bench bench(compute, pool, call);
  call(bench.ctx);
  return rate;
}

struct AttentionRates {
  double forward = 0, backward = 0;
};

AttentionRates attention_rates(const ModelConfig& c, int64_t rows, const AttentionPolicy& policy,
                               const Compute& compute, ThreadPool& pool) {
  AttentionRates rates;
  const auto call = [&](Context& ctx) {
    const Arena::Scope scope = ctx.scratch.scope();
    const auto f32 = [&](Shape shape) { return ctx.scratch.tensor(DType::F32, shape); };
    const auto real = [&](Shape shape) { return ctx.scratch.tensor(compute.dtype, shape); };
    const Tensor qkv = real({rows, c.qkv_heads(), c.head_dim});
    const Tensor dqkv = real({rows, c.qkv_heads(), c.head_dim});
    const Tensor out = real({rows, c.heads, c.head_dim});
    const Tensor dout = real({rows, c.heads, c.head_dim});
    const Tensor lse = f32({rows, c.heads}), tau = f32({rows, c.heads});
    const Tensor jcut = ctx.scratch.tensor(DType::I32, {rows, c.heads});
    const Tensor docs = ctx.scratch.tensor(DType::I32, {2});
    const int32_t offsets[] = {0, static_cast<int32_t>(rows)};
    copy_from_host(docs, offsets, ctx);
    fill_random(qkv, ctx, 1);
    fill_random(dout, ctx, 2);
    const float scale = attention_scale(c);
    const AttentionForward forward{.out = out,
                                   .lse = lse,
                                   .tau = tau,
                                   .jcut = jcut,
                                   .lse_visible = {},
                                   .entropy = {},
                                   .nan_rows = {},
                                   .qkv = qkv,
                                   .doc_offsets = docs,
                                   .heads = c.heads,
                                   .kv_heads = c.kv_heads,
                                   .scale = scale,
                                   .max_document = rows,
                                   .policy = policy};
    const AttentionBackward backward{.dqkv = dqkv,
                                     .dout = dout,
                                     .out = out,
                                     .lse = lse,
                                     .tau = tau,
                                     .jcut = jcut,
                                     .qkv = qkv,
                                     .doc_offsets = docs,
                                     .heads = c.heads,
                                     .kv_heads = c.kv_heads,
                                     .scale = scale,
                                     .max_document = rows,
                                     .policy = policy,
                                     .order = compute.order};
    if (ctx.device.is_plan()) {
      attention_forward(forward, ctx);
      attention_backward(backward, ctx);
      return;
    }
    rates.forward = cost(forward).flops / best_seconds(
                                              0.1, [&] { attention_forward(forward, ctx); }, ctx);
    rates.backward =
        cost(backward).flops / best_seconds(
                                   0.1, [&] { attention_backward(backward, ctx); }, ctx);
  };
  Bench bench(compute, pool, call);
  call(bench.ctx);
  return rates;
}

// Longest row, up to seq_len, whose dense forward pass stays below kAttentionFlops.
int64_t timed_row(const TrainOptions& o, const Compute& compute) {
  const double flops = compute.device.is_cuda() ? kGpuAttentionFlops : kAttentionFlops;
  const double per_pair = 2.0 * o.model.heads * o.model.head_dim;  // 4 D flops, half of the square
  const auto limit = static_cast<int64_t>(std::sqrt(flops / per_pair));
  return std::min(o.data.seq_len, std::max<int64_t>(limit, 64));
}

Batch random_batch(int64_t rows, int64_t seq_len, int64_t vocab) {
  Batch b = worst_batch(rows, seq_len);
  b.doc_offsets.resize(static_cast<size_t>(rows) + 1);
  const Philox random(1, Stream::Noise, 3);
  for (size_t i = 0; i < b.tokens.size(); ++i) {
    b.tokens[i] = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab), i));
    b.targets[i] = b.tokens[i];
    b.positions[i] = static_cast<int32_t>(static_cast<int64_t>(i) % seq_len);
  }
  for (size_t d = 0; d < b.doc_offsets.size(); ++d) {
    b.doc_offsets[d] = static_cast<int32_t>(static_cast<int64_t>(d) * seq_len);
  }
  return b;
}

}  // namespace

double measure_matmul_flops(const Compute& compute, ThreadPool& pool) {
  double rate = 0;
  const auto call = [&](Context& ctx) {
    const Arena::Scope scope = ctx.scratch.scope();
    const int64_t side = on_gpu(ctx) ? kGpuMatmulSize : kMatmulSize;
    const Tensor x = ctx.scratch.tensor(compute.dtype, {side, side});
    const Tensor w = ctx.scratch.tensor(compute.dtype, {side, side});
    const Tensor y = ctx.scratch.tensor(compute.dtype, {side, side});
    fill_random(x, ctx, 0);
    fill_random(w, ctx, 1);
    const MatmulForward args{.y = y, .x = x, .w = w, .bias = {}, .residual = {}};
    if (ctx.device.is_plan()) return matmul_forward(args, ctx);
    rate = cost(args).flops / best_seconds(
                                  kMatmulSeconds, [&] { matmul_forward(args, ctx); }, ctx);
  };
  Bench bench(compute, pool, call);
  call(bench.ctx);
  return rate;
}

Speed measure_speed(const TrainOptions& options, const Compute& compute, ThreadPool& pool) {
  Speed speed;
  speed.matmul_flops = measure_matmul_flops(compute, pool);
  speed.bytes = element_rate(compute, pool);
  const AttentionSchedule schedule(options.attention, options.model.layers, options.data.seq_len,
                                   run_limits(options));
  const int64_t rows = timed_row(options, compute);
  for (const auto* stage : {&schedule.stages().front(), &schedule.stages().back()}) {
    for (const AttentionPolicy& policy : stage->layers) {
      auto& rates = speed.attention[to_string(policy)];
      if (!rates.empty()) continue;
      const AttentionRates measured = attention_rates(options.model, rows, policy, compute, pool);
      rates[attention_forward.name] = measured.forward;
      rates[attention_backward.name] = measured.backward;
    }
  }
  return speed;
}

double estimate_seconds(const CostLedger& ledger, const std::vector<AttentionPolicy>& layers,
                        const Speed& speed) {
  double seconds = 0;
  for (const auto& [op, op_cost] : ledger.by_op) {
    if (op == attention_forward.name || op == attention_backward.name) {
      // The ledger has one sum for all layers: the harmonic mean of their rates.
      double inverse = 0;
      for (const AttentionPolicy& policy : layers) {
        const auto it = speed.attention.find(to_string(policy));
        const auto& rates =
            it != speed.attention.end() ? it->second : speed.attention.rbegin()->second;
        inverse += 1 / rates.at(op);
      }
      seconds += op_cost.flops * inverse / static_cast<double>(layers.size());
    } else {
      seconds += std::max(op_cost.flops / speed.matmul_flops, op_cost.bytes / speed.bytes);
    }
  }
  return seconds;
}

double measure_step(const TrainOptions& o, const Compute& compute, const RunPlan& plan,
                    const std::vector<AttentionPolicy>& layers, ThreadPool& pool) {
  Arena arena(compute.device, plan.memory.arena());
  Context ctx{compute.device, pool, arena};
  Trainee trainee(o, compute, ctx);
  trainee.initialise(o.seed, ctx);
  trainee.initialise_base(o.seed, ctx);
  trainee.weights_changed(ctx);
  trainee.model().attention = layers;
  const std::vector<Batch> micro(static_cast<size_t>(plan.rows / plan.micro_rows),
                                 random_batch(plan.micro_rows, plan.seq_len, o.model.vocab));
  std::vector<double> seconds;
  for (int64_t i = 1; i <= 4; ++i) {
    const auto start = std::chrono::steady_clock::now();
    train_step({.model = trainee.model(),
                .optimizer = trainee.optimizer(),
                .micro_batches = micro,
                .recompute = parse_recompute(o.recompute),
                .lr = o.optim.lr,
                .update = i,
                .diagnose = false},
               ctx);
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin() + 1, seconds.end());
  return seconds[2];
}

}  // namespace pivot
