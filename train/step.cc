#include "train/step.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot {
namespace {

struct DeviceBatch {
  ModelInput input;
  Tensor targets;  // (N) I32
};

// `values` in a tensor with room for `capacity`; only the former are seen.
Tensor upload(const std::vector<int32_t>& values, int64_t capacity, Context& ctx) {
  const auto count = static_cast<int64_t>(values.size());
  PIVOT_CHECK(count <= capacity, "{} values, room for {}", count, capacity);
  const Tensor t = ctx.scratch.tensor(DType::I32, {capacity}).rows(0, count);
  copy_from_host(t, values.data(), ctx);
  return t;
}

int64_t power_of_two_from(int64_t n) {
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

// On a GPU launches must not depend on where documents begin, or every batch would be another
// graph: the list of documents is filled up with empty ones, the longest document rounded up.
struct DocumentBounds {
  std::vector<int32_t> offsets;
  int64_t longest;
};
DocumentBounds bounds_of(const Batch& batch, Device device) {
  DocumentBounds b{batch.doc_offsets, batch.max_document};
  if (device.target() != Device::Kind::Cuda) return b;
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  const auto documents = static_cast<int64_t>(b.offsets.size()) - 1;
  const int64_t count = std::max(batch.rows, power_of_two_from(documents));
  b.offsets.resize(static_cast<size_t>(count) + 1, static_cast<int32_t>(tokens));
  b.longest = std::min(tokens / batch.rows, power_of_two_from(batch.max_document));
  return b;
}

// What is taken from the arena depends on N alone, whatever the documents are.
DeviceBatch upload(const Batch& batch, Context& ctx) {
  const auto n = static_cast<int64_t>(batch.tokens.size());
  const DocumentBounds bounds = bounds_of(batch, ctx.device);
  DeviceBatch d;
  d.input.tokens = upload(batch.tokens, n, ctx);
  d.input.positions = upload(batch.positions, n, ctx);
  d.input.doc_offsets = upload(bounds.offsets, power_of_two_from(n) + 1, ctx);
  d.input.max_document = bounds.longest;
  d.targets = upload(batch.targets, n, ctx);
  return d;
}

// Sum of the losses of every row of a batch, in double.
std::vector<double> row_sums(std::span<const float> losses, const Batch& batch) {
  const auto rows = static_cast<size_t>(batch.rows);
  const size_t length = losses.size() / rows;
  std::vector<double> sums(rows);
  for (size_t i = 0; i < rows * length; ++i) sums[i / length] += losses[i];
  return sums;
}

double mean_of_row(double sum, const Batch& batch, size_t row) {
  const size_t length = batch.targets.size() / static_cast<size_t>(batch.rows);
  const auto first = batch.targets.begin() + static_cast<std::ptrdiff_t>(row * length);
  const auto valid = std::count_if(first, first + static_cast<std::ptrdiff_t>(length),
                                   [](int32_t target) { return target != kNoTarget; });
  return valid > 0 ? sum / static_cast<double>(valid) : 0;
}

Gradients bind_gradients(const StepInput& step) {
  const Model& model = step.model;
  const Tensor& flat = step.optimizer.grads();
  if (!model.lora.on()) return {bind_params(model.config, flat), {}};
  return {{}, bind_adapters(model.config, model.lora.config, flat)};
}

// Everything that decides what a step launches.
std::string graph_key(const StepInput& step, std::span<const DeviceBatch> batches) {
  std::string key =
      fmt::format("{}|{}", to_string(step.model.attention), to_string(step.recompute));
  for (const DeviceBatch& b : batches) {
    key += fmt::format("|{} {} {}", b.input.tokens.dim(0), b.input.doc_offsets.dim(0),
                       b.input.max_document);
  }
  return key;
}

}  // namespace

void StepGraphs::run(const std::string& key, const std::function<void()>& body, Context& ctx) {
  Entry& entry = entries_[key];
  if (!entry.ran) {
    body();
    entry.ran = true;
    return;
  }
  if (!entry.graph.recorded()) entry.graph.record(ctx.device.index, body);
  entry.graph.launch();
}

StepOutput train_step(const StepInput& step, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  StepOutput out;
  int64_t tokens = 0;
  std::vector<DeviceBatch> batches;
  for (const Batch& batch : step.micro_batches) {
    out.targets += batch.valid_targets();
    tokens += static_cast<int64_t>(batch.tokens.size());
    batches.push_back(upload(batch, ctx));
  }
  const Tensor losses = ctx.scratch.tensor(DType::F32, {tokens});
  step.optimizer.prepare({step.lr, step.update, out.targets, step.loss_limit}, ctx);

  std::optional<DiagnosticsSum> diagnostics;
  if (step.diagnose) diagnostics.emplace(step.model);
  Gradients grads = bind_gradients(step);
  const auto run = [&] {
    step.optimizer.zero_grads(ctx);
    int64_t first = 0;
    for (size_t i = 0; i < batches.size(); ++i) {
      const Arena::Scope micro = ctx.scratch.scope();
      const DeviceBatch& b = batches[i];
      const int64_t rows = b.input.tokens.dim(0);
      std::vector<AttentionStats> stats;
      if (diagnostics) stats = make_attention_stats(step.model.config, rows, ctx);
      forward_backward(step.model, b.input, b.targets, 1.0F, step.recompute, grads,
                       losses.rows(first, first + rows), diagnostics ? &stats : nullptr, ctx);
      if (diagnostics) diagnostics->add(stats, step.micro_batches[i].doc_offsets, ctx);
      first += rows;
    }
    step.optimizer.update(losses, ctx);
  };
  if (step.graphs != nullptr && ctx.device.is_cuda() && !diagnostics) {
    step.graphs->run(graph_key(step, batches), run, ctx);
  } else {
    run();
  }

  if (diagnostics) out.diagnostics = diagnostics->mean();
  if (ctx.device.is_plan()) return out;
  const UpdateResult result = step.optimizer.result(ctx);
  std::vector<float> values(static_cast<size_t>(tokens));
  copy_to_host(values.data(), losses, ctx);
  double sum = 0;
  size_t first = 0;
  for (const Batch& batch : step.micro_batches) {
    const std::vector<double> rows =
        row_sums(std::span(values).subspan(first, batch.tokens.size()), batch);
    first += batch.tokens.size();
    for (size_t row = 0; row < rows.size(); ++row) {
      sum += rows[row];
      out.row_losses.push_back(mean_of_row(rows[row], batch, row));
    }
  }
  out.loss = sum / static_cast<double>(std::max<int64_t>(out.targets, 1));
  out.grad_norm = result.grad_norm;
  out.applied = result.applied != 0;
  return out;
}

double loss_sum(const Model& model, const Batch& batch, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const DeviceBatch d = upload(batch, ctx);
  const Tensor loss = ctx.scratch.tensor(DType::F32, {d.targets.dim(0)});
  forward_loss(model, d.input, d.targets, loss, nullptr, ctx);
  if (ctx.device.is_plan()) return 0;
  std::vector<float> values(static_cast<size_t>(loss.count()));
  copy_to_host(values.data(), loss, ctx);
  double sum = 0;
  for (const double row : row_sums(values, batch)) sum += row;
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
