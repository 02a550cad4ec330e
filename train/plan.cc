#include "train/plan.h"

#include <algorithm>

#include "kernels/attention/attention.h"
#include "src/base/check.h"
#include "src/model/activations.h"
#include "train/compute.h"
#include "train/step.h"
#include "train/trainee.h"

namespace pivot {
namespace {

constexpr size_t kMetadataBytes = size_t{1} << 20;  // of a checkpoint besides its tensors

// The run's objects without memory.
struct Rehearsal {
  ThreadPool& pool;
  Compute compute;
  Arena arena{compute.device, 0};
  CostLedger ledger;
  Context ctx{compute.device, pool, arena, &ledger};
  Trainee trainee;

  Rehearsal(const TrainOptions& o, ThreadPool& threads)
      : pool(threads), compute(planned_compute(o)), trainee(o, compute, ctx) {}

  CostLedger step(const std::vector<AttentionPolicy>& attention, const Batch& batch, size_t count,
                  Recompute recompute, bool diagnose) {
    trainee.model().attention = attention;
    ledger = {};
    const std::vector<Batch> micro(count, batch);
    train_step({.model = trainee.model(),
                .optimizer = trainee.optimizer(),
                .micro_batches = micro,
                .recompute = recompute,
                .lr = 0,
                .update = 1,
                .diagnose = diagnose},
               ctx);
    return ledger;
  }

  CostLedger validation(const std::vector<AttentionPolicy>& attention, const Batch& batch) {
    trainee.model().attention = attention;
    ledger = {};
    loss_sum(trainee.model(), batch, ctx);
    return ledger;
  }
};

// a + factor * b, op by op.
CostLedger combine(const CostLedger& a, double factor, const CostLedger& b) {
  CostLedger sum = a;
  for (const auto& [op, cost] : b.by_op) {
    sum.add(op.c_str(), {cost.flops * factor, cost.bytes * factor});
  }
  return sum;
}

// Cost of a step of `count` equal micro-batches: linear in count, so two rehearsals tell it.
CostLedger step_cost(Rehearsal& run, const std::vector<AttentionPolicy>& attention,
                     const Batch& batch, int64_t count, Recompute recompute) {
  const CostLedger one = run.step(attention, batch, 1, recompute, false);
  const CostLedger two = run.step(attention, batch, 2, recompute, false);
  const double more = static_cast<double>(count - 1);
  return combine(combine(one, more, two), -more, one);
}

size_t saved_activations(const TrainOptions& o, const Compute& compute, int64_t tokens) {
  Arena arena(compute.device, 0);
  for (int i = 0; i <= o.model.layers; ++i) arena.tensor(compute.dtype, {tokens, o.model.dim});
  const Recompute recompute = parse_recompute(o.recompute);
  for (int i = 0; recompute != Recompute::Full && i < o.model.layers; ++i) {
    make_block_saved(o.model, compute.dtype, tokens, recompute, arena);
  }
  return arena.peak();
}

// Rows of one document each.
Batch plain_batch(int64_t rows, int64_t seq_len) {
  Batch batch = worst_batch(rows, seq_len);
  batch.doc_offsets.resize(static_cast<size_t>(rows) + 1);
  return batch;
}

// Documents of at most `longest` tokens.
Batch packed_batch(int64_t rows, int64_t seq_len, int64_t documents, int64_t longest) {
  Batch batch = worst_batch(rows, seq_len);
  batch.doc_offsets.resize(static_cast<size_t>(documents) + 1);
  batch.max_document = longest;
  return batch;
}

// What kernels may treat differently: rows of one document, as many documents as tokens, and on a
// GPU, where documents are padded to the longest, every pair of bounds that train_step() makes
// (powers of two, train/step.cc) with room for the tokens. cuDNN takes at most four times as many
// rows as there are tokens (cudnn_scratch.cc); pairs beyond need what the first two batches need.
std::vector<Batch> rehearsed_batches(const TrainOptions& o, const Compute& compute) {
  const int64_t rows = o.batch.micro, seq_len = o.data.seq_len, tokens = rows * seq_len;
  std::vector<Batch> batches = {worst_batch(rows, seq_len), plain_batch(rows, seq_len)};
  if (compute.device.target() != Device::Kind::Cuda) return batches;
  for (int64_t longest = seq_len; longest >= 2; longest = longest / 2) {
    for (int64_t documents = 1; documents * longest <= 4 * tokens; documents *= 2) {
      if (documents * longest < tokens || documents > tokens) continue;
      batches.push_back(packed_batch(rows, seq_len, documents, longest));
    }
  }
  return batches;
}

// The arena's peak over everything a run does: steps of all stages, with and without statistics,
// and validation.
size_t arena_peak(const TrainOptions& o, const AttentionSchedule& schedule, Rehearsal& run) {
  const Recompute recompute = parse_recompute(o.recompute);
  const auto count = static_cast<size_t>(o.batch.tokens / o.data.seq_len / o.batch.micro);
  for (const AttentionSchedule::Stage& stage : schedule.stages()) {
    for (const Batch& batch : rehearsed_batches(o, run.compute)) {
      run.step(stage.layers, batch, count, recompute, o.diagnostics_every > 0);
      run.step(stage.layers, batch, count, recompute, false);
      run.validation(stage.layers, batch);
    }
  }
  return run.arena.peak();
}

MemoryPlan memory_of(const TrainOptions& o, Rehearsal& run, const AttentionSchedule& schedule) {
  MemoryPlan m;
  m.parameters = run.trainee.weight_bytes();
  m.gradients = run.trainee.optimizer().grad_bytes();
  m.moments = run.trainee.optimizer().moment_bytes();
  if (o.lora.on() && !parse_extent(o.sample.every, "sample.every").off()) {
    m.merged = static_cast<size_t>(parameter_count(o.model)) * dtype_bytes(run.compute.dtype);
  }
  m.libraries = library_bytes(run.compute);
  const size_t peak = arena_peak(o, schedule, run);
  m.activations = std::min(peak, saved_activations(o, run.compute, o.batch.micro * o.data.seq_len));
  m.workspace = peak - m.activations;
  return m;
}

double times_due(const std::string& every, const char* key, const RunLimits& limits) {
  const Extent extent = parse_extent(every, key);
  if (extent.off()) return 0;
  if (extent.unit == Extent::Unit::Seconds && limits.seconds <= 0) return 0;
  if (extent.unit == Extent::Unit::Steps && limits.steps <= 0) return 0;
  return 1 / share_of_run(extent, limits, key);
}

}  // namespace

RunPlan plan_run(const TrainOptions& o, ThreadPool& pool) {
  PIVOT_CHECK(o.batch.micro > 0, "batch.micro is not chosen yet");
  RunPlan plan;
  plan.parameters = parameter_count(o.model);
  plan.seq_len = o.data.seq_len;
  plan.rows = o.batch.tokens / o.data.seq_len;
  plan.micro_rows = o.batch.micro;
  plan.steps = o.steps;

  Rehearsal run(o, pool);
  plan.trained = run.trainee.optimizer().weights().count();
  const RunLimits limits = run_limits(o);
  const AttentionSchedule schedule(o.attention, o.model.layers, o.data.seq_len, limits);
  plan.memory = memory_of(o, run, schedule);

  const Batch batch = plain_batch(o.batch.micro, o.data.seq_len);
  const int64_t count = plan.rows / plan.micro_rows;
  const Recompute recompute = parse_recompute(o.recompute);
  for (const AttentionSchedule::Stage& stage : schedule.stages()) {
    plan.stages.push_back({stage.begin, stage.spec,
                           step_cost(run, stage.layers, batch, count, Recompute::None),
                           step_cost(run, stage.layers, batch, count, recompute)});
  }
  const std::vector<AttentionPolicy> dense(static_cast<size_t>(o.model.layers));
  plan.dense = step_cost(run, dense, batch, count, Recompute::None);

  if (!o.data.validation.empty()) {
    const double batches = static_cast<double>(o.validation.tokens) /
                           static_cast<double>(o.batch.micro * o.data.seq_len);
    plan.validation = combine({}, batches, run.validation(schedule.stages().back().layers, batch));
    plan.validations = times_due(o.validation.every, "validation.every", limits) + 1;
  }
  // Adapter runs save what they compute with, others their masters.
  const DType stored = o.lora.on() ? run.compute.dtype : DType::F32;
  const size_t weights = static_cast<size_t>(plan.parameters) * dtype_bytes(stored);
  const size_t trained = run.trainee.optimizer().weights().bytes();
  plan.checkpoint_bytes =
      weights + (o.lora.on() ? trained : 0) + plan.memory.moments + kMetadataBytes;
  const double saves = std::max(1.0, times_due(o.checkpoint.every, "checkpoint.every", limits));
  const double kept = o.checkpoint.keep > 0 ? std::min<double>(o.checkpoint.keep, saves) : saves;
  plan.disk_bytes = static_cast<size_t>(static_cast<double>(plan.checkpoint_bytes) * (kept + 1));
  // The best one and the next: weights without moments.
  if (o.checkpoint.keep_best && plan.validations > 0) plan.disk_bytes += 2 * weights;
  return plan;
}

int64_t choose_micro_rows(const TrainOptions& options, size_t memory, ThreadPool& pool) {
  const int64_t rows = options.batch.tokens / options.data.seq_len;
  const bool gpu = planned_compute(options).device.target() == Device::Kind::Cuda;
  const int64_t most_tokens = gpu ? kGpuMicroTokens : kMicroTokens;
  TrainOptions o = options;
  for (int64_t micro = rows; micro > 1; --micro) {
    if (rows % micro != 0 || micro * o.data.seq_len > most_tokens) continue;
    o.batch.micro = micro;
    Rehearsal run(o, pool);
    const AttentionSchedule schedule(o.attention, o.model.layers, o.data.seq_len, run_limits(o));
    const MemoryPlan plan = memory_of(o, run, schedule);
    if (gpu ? plan.total() <= memory / 10 * 9 : plan.arena() <= memory / 4) return micro;
  }
  return 1;
}

double flops_of(const CostLedger& ledger, double attention_share) {
  double flops = ledger.total.flops;
  for (const char* op : {attention_forward.name, attention_backward.name}) {
    const auto it = ledger.by_op.find(op);
    if (it != ledger.by_op.end()) flops -= (1 - attention_share) * it->second.flops;
  }
  return flops;
}

Remedy find_remedy(const TrainOptions& options, size_t budget, ThreadPool& pool) {
  struct Candidate {
    const char* recompute;
    bool single_row;
  };
  constexpr Candidate kCandidates[] = {
      {"none", true}, {"selective", false}, {"selective", true}, {"full", false}, {"full", true}};
  for (const Candidate& c : kCandidates) {
    TrainOptions o = options;
    std::string change;
    if (o.recompute != c.recompute) {
      if (std::string(c.recompute) == "none" || o.recompute == "full") continue;
      o.recompute = c.recompute;
      change = fmt::format("recompute={}", c.recompute);
    }
    if (c.single_row && o.batch.micro != 1) {
      o.batch.micro = 1;
      change += change.empty() ? "batch.micro=1" : " batch.micro=1";
    }
    if (change.empty()) continue;
    const size_t total = plan_run(o, pool).memory.total();
    if (total <= budget) return {change, total};
  }
  return {};
}

}  // namespace pivot
