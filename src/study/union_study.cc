#include "src/study/union_study.h"

#include <numeric>

#include "kernels/attention/attention.h"
#include "kernels/attention_union/attention_union.h"
#include "src/base/check.h"

namespace pivot::study {
namespace {

double average(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Tensor upload(const std::vector<int32_t>& values, Context& ctx) {
  const Tensor t = ctx.scratch.tensor(DType::I32, {static_cast<int64_t>(values.size())});
  copy_from_host(t, values.data(), ctx);
  return t;
}

// Visible keys of the tile that begins in each slot: its last row's. 0 where no tile does.
std::vector<int64_t> visible_keys(const Batch& batch) {
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  std::vector<int64_t> visible(static_cast<size_t>((tokens + kUnionRows - 1) / kUnionRows));
  for (size_t d = 0; d + 1 < batch.doc_offsets.size(); ++d) {
    for (int64_t first = batch.doc_offsets[d]; first + kUnionRows <= batch.doc_offsets[d + 1];
         first += kUnionRows) {
      visible[static_cast<size_t>(first / kUnionRows)] = first + kUnionRows - batch.doc_offsets[d];
    }
  }
  return visible;
}

// One batch through the model; adds to the sums of every policy.
class Pass {
 public:
  Pass(const Model& model, const UnionOptions& options, const Batch& batch,
       std::vector<UnionResult>& results)
      : model_(model),
        options_(options),
        batch_(batch),
        visible_(visible_keys(batch)),
        results_(results) {}

  void run(Context& ctx) {
    const Arena::Scope scope = ctx.scratch.scope();
    const ModelInput input{.tokens = upload(batch_.tokens, ctx),
                           .positions = upload(batch_.positions, ctx),
                           .doc_offsets = upload(batch_.doc_offsets, ctx),
                           .max_document = batch_.max_document};
    forward_hidden(model_, input, ctx, [&](int layer, const Tensor& qkv) {
      for (UnionResult& result : results_) look(layer, qkv, input, result, ctx);
    });
  }

 private:
  void look(int layer, const Tensor& qkv, const ModelInput& input, UnionResult& result,
            Context& ctx) const {
    const ModelConfig& c = model_.config;
    const Arena::Scope scope = ctx.scratch.scope();
    const int64_t tokens = qkv.dim(0);
    const Tensor tau = ctx.scratch.tensor(DType::F32, {tokens, c.heads});
    const Tensor jcut = ctx.scratch.tensor(DType::I32, {tokens, c.heads});
    attention_forward({.out = ctx.scratch.tensor(qkv.dtype, {tokens, c.heads, c.head_dim}),
                       .lse = ctx.scratch.tensor(DType::F32, {tokens, c.heads}),
                       .tau = tau,
                       .jcut = jcut,
                       .lse_visible = {},
                       .entropy = {},
                       .nan_rows = {},
                       .qkv = qkv,
                       .doc_offsets = input.doc_offsets,
                       .heads = c.heads,
                       .kv_heads = c.kv_heads,
                       .scale = attention_scale(c),
                       .max_document = input.max_document,
                       .policy = result.policy},
                      ctx);
    const auto slots = static_cast<int64_t>(visible_.size());
    const Tensor share = ctx.scratch.tensor(DType::F32, {slots, c.heads});
    attention_union({.share = share,
                     .tau = tau,
                     .jcut = jcut,
                     .qkv = qkv,
                     .doc_offsets = input.doc_offsets,
                     .heads = c.heads,
                     .kv_heads = c.kv_heads,
                     .policy = result.policy},
                    ctx);
    if (ctx.device.is_plan()) return;
    std::vector<float> host(static_cast<size_t>(share.count()));
    copy_to_host(host.data(), share, ctx);
    for (size_t slot = 0; slot < visible_.size(); ++slot) {
      if (visible_[slot] == 0 || visible_[slot] < options_.least_visible) continue;
      if (layer == 0) ++result.tiles;
      for (size_t h = 0; h < static_cast<size_t>(c.heads); ++h) {
        result.share[static_cast<size_t>(layer)][h] +=
            host[slot * static_cast<size_t>(c.heads) + h];
      }
    }
  }

  const Model& model_;
  const UnionOptions& options_;
  const Batch& batch_;
  std::vector<int64_t> visible_;
  std::vector<UnionResult>& results_;
};

}  // namespace

double UnionResult::mean_of_layer(size_t layer) const {
  return average(share[layer]);
}

double UnionResult::mean() const {
  double sum = 0;
  for (size_t layer = 0; layer < share.size(); ++layer) sum += mean_of_layer(layer);
  return sum / static_cast<double>(share.size());
}

std::vector<UnionResult> measure_union(const Model& model, const Loader& loader,
                                       const UnionOptions& options, Device device,
                                       ThreadPool& pool) {
  std::vector<UnionResult> results;
  const auto layers = static_cast<size_t>(model.config.layers);
  for (const AttentionPolicy& policy : options.policies) {
    if (policy.group != SelectionGroup::Head) {
      throw_user("{}: the union is measured for sets of single heads (group=head)",
                 to_string(policy));
    }
    results.push_back(
        {policy, std::vector(layers, std::vector<double>(static_cast<size_t>(model.config.heads))),
         0});
  }
  for (int64_t row = 0; row < std::min(options.rows, loader.epoch_rows()); ++row) {
    const Batch batch = loader.batch(row, 1);
    Pass pass(model, options, batch, results);
    Arena counting(plan_device(device), 0);
    CostLedger ledger;
    Context plan{counting.device(), pool, counting, &ledger};
    pass.run(plan);
    Arena arena(device, counting.peak());
    Context ctx{device, pool, arena, nullptr};
    pass.run(ctx);
  }
  for (UnionResult& result : results) {
    if (result.tiles == 0) {
      throw_user("no document has {} tokens or more in the first {} rows: give longer text",
                 std::max(options.least_visible, kUnionRows), options.rows);
    }
    for (std::vector<double>& heads : result.share) {
      for (double& share : heads) share /= static_cast<double>(result.tiles);
    }
  }
  return results;
}

}  // namespace pivot::study
