#include "src/eval/training_path.h"

#include <algorithm>
#include <cmath>

#include "kernels/matmul/matmul.h"
#include "src/base/check.h"
#include "src/eval/packed_documents.h"

namespace pivot::eval {
namespace {

constexpr int64_t kLogitRows = 128;     // rows whose logits exist at once
constexpr int64_t kMassTokens = 16384;  // enough for a mean, where kept mass costs a second pass

}  // namespace

struct TrainingPath::Work {
  const PackedDocuments& packed;
  const std::vector<int64_t>& rows;  // asked rows of the packed batch
  Want want;
  std::vector<Prediction>& results;  // (rows.size()), filled
};

TrainingPath::TrainingPath(const Model& model, Device device, ThreadPool& pool,
                           int64_t batch_tokens)
    : model_(model),
      device_(device),
      pool_(pool),
      batch_tokens_(batch_tokens),
      mass_(static_cast<size_t>(model.config.layers)) {}

std::vector<std::vector<Prediction>> TrainingPath::predict(std::span<const EvalDocument> documents,
                                                           Want want) {
  const PackedDocuments packed(documents);
  std::vector<int64_t> rows;
  for (size_t d = 0; d < documents.size(); ++d) {
    for (const int64_t t : asked_rows(documents[d])) rows.push_back(packed.offsets[d] + t);
  }
  std::vector<Prediction> flat(rows.size(), Prediction{-1, 0});
  if (!rows.empty()) {
    const Work work{packed, rows, want, flat};
    // The plan device tells what this batch needs; it runs the same code with null pointers.
    Arena counting(plan_device(device_), 0);
    CostLedger ledger;
    Context plan{counting.device(), pool_, counting, &ledger};
    run(work, plan);
    if (arena_ == nullptr || arena_->capacity() < counting.peak()) {
      arena_.reset();  // the old one first: both might not fit
      arena_ = std::make_unique<Arena>(device_, counting.peak());
    }
    Context ctx{device_, pool_, *arena_, nullptr};
    run(work, ctx);
  }
  std::vector<std::vector<Prediction>> results(documents.size());
  size_t next = 0;
  for (size_t d = 0; d < documents.size(); ++d) {
    const size_t count = asked_rows(documents[d]).size();
    results[d].assign(flat.begin() + static_cast<std::ptrdiff_t>(next),
                      flat.begin() + static_cast<std::ptrdiff_t>(next + count));
    next += count;
  }
  return results;
}

void TrainingPath::run(const Work& work, Context& ctx) {
  if (work.want == Want::TokenToo) best_tokens(work, ctx);
  if (work.want == Want::Logprob || ctx.device.is_plan() || mass_rows_ < kMassTokens) {
    losses(work, ctx);
  }
}

void TrainingPath::losses(const Work& work, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const int64_t n = work.packed.rows();
  const ModelInput input = upload_input(work.packed, ctx);
  const Tensor targets = upload_ids(work.packed.targets, ctx);
  const Tensor loss = ctx.scratch.tensor(DType::F32, {n});
  std::vector<AttentionStats> stats = make_attention_stats(model_.config, n, ctx);
  forward_loss(model_, input, targets, loss, &stats, ctx);
  if (ctx.device.is_plan()) return;
  std::vector<float> host(static_cast<size_t>(n));
  copy_to_host(host.data(), loss, ctx);
  if (work.want == Want::Logprob) {
    for (size_t i = 0; i < work.rows.size(); ++i) {
      work.results[i].logprob = -static_cast<double>(host[static_cast<size_t>(work.rows[i])]);
    }
  }
  std::vector<float> kept(static_cast<size_t>(n * model_.config.heads)), visible(kept.size());
  for (size_t l = 0; l < stats.size(); ++l) {
    copy_to_host(kept.data(), stats[l].lse, ctx);
    copy_to_host(visible.data(), stats[l].lse_visible, ctx);
    for (size_t i = 0; i < kept.size(); ++i) {
      mass_[l] += std::exp(static_cast<double>(kept[i]) - static_cast<double>(visible[i]));
    }
  }
  mass_rows_ += n;
}

void TrainingPath::best_tokens(const Work& work, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const ModelInput input = upload_input(work.packed, ctx);
  const Tensor hidden = forward_hidden(model_, input, ctx);
  const ModelConfig& c = model_.config;
  const auto count = static_cast<int64_t>(work.rows.size());
  std::vector<float> host(static_cast<size_t>(std::min(count, kLogitRows) * c.vocab));
  for (int64_t begin = 0; begin < count; begin += kLogitRows) {
    const Arena::Scope chunk = ctx.scratch.scope();
    const int64_t rows = std::min(kLogitRows, count - begin);
    const Tensor picked = ctx.scratch.tensor(hidden.dtype, {rows, c.dim});
    const Tensor logits = ctx.scratch.tensor(DType::F32, {rows, c.vocab});
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t row = work.rows[static_cast<size_t>(begin + i)];
      copy(picked.rows(i, i + 1), hidden.rows(row, row + 1), ctx);
    }
    matmul_forward({.y = logits, .x = picked, .w = model_.params.head, .bias = {}, .residual = {}},
                   ctx);
    if (ctx.device.is_plan()) continue;
    copy_to_host(host.data(), logits, ctx);
    for (int64_t i = 0; i < rows; ++i) {
      const auto at = static_cast<size_t>(begin + i);
      const int32_t target = work.packed.targets[static_cast<size_t>(work.rows[at])];
      work.results[at] =
          read_logits({host.data() + i * c.vocab, static_cast<size_t>(c.vocab)}, target);
    }
  }
}

std::vector<double> TrainingPath::kept_mass() const {
  if (mass_rows_ == 0) return {};
  std::vector<double> mean = mass_;
  for (double& m : mean) m /= static_cast<double>(mass_rows_ * model_.config.heads);
  return mean;
}

}  // namespace pivot::eval
