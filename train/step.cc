#include "train/step.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot {
namespace {

struct DeviceBatch {
  ModelInput input;
  Tensor targets;  // (N) I32
  Tensor loss;     // (N) F32
};

Tensor upload_ids(const std::vector<int32_t>& ids, int64_t capacity, Context& ctx) {
  const auto count = static_cast<int64_t>(ids.size());
  PIVOT_CHECK(count <= capacity, "{} ids, room for {}", count, capacity);
  const Tensor t = ctx.scratch.tensor(DType::I32, {capacity}).rows(0, count);
  copy_from_host(t, ids.data(), ctx);
  return t;
}

// Sizes depend on N alone, so that the arena is used alike whatever the documents are.
DeviceBatch upload(const Batch& batch, Context& ctx) {
  const auto n = static_cast<int64_t>(batch.tokens.size());
  DeviceBatch d;
  d.input.tokens = upload_ids(batch.tokens, n, ctx);
  d.input.positions = upload_ids(batch.positions, n, ctx);
  d.input.doc_offsets = upload_ids(batch.doc_offsets, n + 1, ctx);
  d.input.max_document = batch.max_document;
  d.targets = upload_ids(batch.targets, n, ctx);
  d.loss = ctx.scratch.tensor(DType::F32, {n});
  return d;
}

// Sum of the losses of every row, in double; nothing on the plan device.
std::vector<double> row_sums(const Tensor& loss, const Batch& batch, Context& ctx) {
  if (ctx.device.is_plan()) return {};
  std::vector<float> values(static_cast<size_t>(loss.count()));
  copy_to_host(values.data(), loss, ctx);
  const auto rows = static_cast<size_t>(batch.rows);
  const size_t length = values.size() / rows;
  std::vector<double> sums(rows);
  for (size_t i = 0; i < rows * length; ++i) sums[i / length] += values[i];
  return sums;
}

double mean_of_row(double sum, const Batch& batch, size_t row) {
  const size_t length = batch.targets.size() / static_cast<size_t>(batch.rows);
  const auto first = batch.targets.begin() + static_cast<std::ptrdiff_t>(row * length);
  const auto valid = std::count_if(first, first + static_cast<std::ptrdiff_t>(length),
                                   [](int32_t target) { return target != kNoTarget; });
  return valid > 0 ? sum / static_cast<double>(valid) : 0;
}

std::vector<double> accumulate_gradients(const StepInput& step, const Batch& batch,
                                         float grad_scale, Params& grads,
                                         DiagnosticsSum* diagnostics, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const DeviceBatch d = upload(batch, ctx);
  std::vector<AttentionStats> stats;
  if (diagnostics != nullptr) {
    stats = make_attention_stats(step.model.config, d.loss.dim(0), ctx);
  }
  forward_backward(step.model, d.input, d.targets, grad_scale, step.recompute, grads, d.loss,
                   diagnostics != nullptr ? &stats : nullptr, ctx);
  if (diagnostics != nullptr) diagnostics->add(stats, batch.doc_offsets, ctx);
  return row_sums(d.loss, batch, ctx);
}

}  // namespace

StepOutput train_step(const StepInput& step, Context& ctx) {
  StepOutput out;
  for (const Batch& batch : step.micro_batches) out.targets += batch.valid_targets();
  const auto scale = 1.0F / static_cast<float>(std::max<int64_t>(out.targets, 1));

  std::optional<DiagnosticsSum> diagnostics;
  if (step.diagnose) diagnostics.emplace(step.model);
  step.optimizer.zero_grads(ctx);
  Params grads = bind_params(step.model.config, step.optimizer.grads());
  double sum = 0;
  for (const Batch& batch : step.micro_batches) {
    const std::vector<double> rows =
        accumulate_gradients(step, batch, scale, grads, diagnostics ? &*diagnostics : nullptr, ctx);
    for (size_t row = 0; row < rows.size(); ++row) {
      sum += rows[row];
      out.row_losses.push_back(mean_of_row(rows[row], batch, row));
    }
  }

  out.loss = sum / static_cast<double>(std::max<int64_t>(out.targets, 1));
  out.grad_norm = step.optimizer.grad_norm(ctx);
  out.applied = step.accept(out.loss, out.grad_norm);
  if (out.applied) {
    step.optimizer.update(step.lr, step.optimizer.clip_factor(out.grad_norm), step.update, ctx);
  }
  if (diagnostics) out.diagnostics = diagnostics->mean();
  return out;
}

double loss_sum(const Model& model, const Batch& batch, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const DeviceBatch d = upload(batch, ctx);
  forward_loss(model, d.input, d.targets, d.loss, nullptr, ctx);
  double sum = 0;
  for (const double row : row_sums(d.loss, batch, ctx)) sum += row;
  return sum;
}

Batch worst_batch(int64_t rows, int64_t seq_len) {
  const auto n = static_cast<size_t>(rows * seq_len);
  Batch b;
  b.tokens.resize(n);
  b.targets.resize(n);
  b.positions.resize(n);
  b.doc_offsets.resize(n + 1);
  b.rows = rows;
  b.max_document = seq_len;
  return b;
}

}  // namespace pivot
