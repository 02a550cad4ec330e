#include "train/diagnostics.h"

#include <cmath>

#include "kernels/attention/attention.h"

namespace pivot {
namespace {

// Sum of the budget over all rows of packed documents.
double kept_keys(const AttentionPolicy& policy, std::span<const int32_t> doc_offsets) {
  const Budget budget = budget_of(policy);
  double sum = 0;
  for (size_t d = 0; d + 1 < doc_offsets.size(); ++d) {
    const int64_t length = doc_offsets[d + 1] - doc_offsets[d];
    for (int64_t n = 1; n <= length; ++n) {
      sum += static_cast<double>(policy.dense() ? n : budget(n));
    }
  }
  return sum;
}

double average(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

}  // namespace

DiagnosticsSum::DiagnosticsSum(const Model& model) {
  const auto heads = static_cast<size_t>(model.config.heads);
  for (const AttentionPolicy& policy : model.attention) {
    layers_.push_back({policy, 0, std::vector<double>(heads), std::vector<double>(heads)});
  }
}

void DiagnosticsSum::add(const std::vector<AttentionStats>& stats,
                         std::span<const int32_t> doc_offsets, Context& ctx) {
  if (ctx.device.is_plan()) return;
  for (size_t l = 0; l < layers_.size(); ++l) {
    Layer& layer = layers_[l];
    const auto count = static_cast<size_t>(stats[l].lse.count());
    std::vector<float> lse(count), visible(count), entropy(count);
    copy_to_host(lse.data(), stats[l].lse, ctx);
    copy_to_host(visible.data(), stats[l].lse_visible, ctx);
    copy_to_host(entropy.data(), stats[l].entropy, ctx);
    const size_t heads = layer.mass.size();
    for (size_t i = 0; i < count; ++i) {
      layer.mass[i % heads] += std::exp(static_cast<double>(lse[i]) - visible[i]);
      layer.entropy[i % heads] += entropy[i];
    }
    layer.k += kept_keys(layer.policy, doc_offsets);
  }
  rows_ += doc_offsets.back();
}

AttentionDiagnostics DiagnosticsSum::mean() const {
  AttentionDiagnostics result;
  const double rows = static_cast<double>(rows_ > 0 ? rows_ : 1);
  double mass = 0;
  for (const Layer& layer : layers_) {
    LayerDiagnostics d{to_string(layer.policy), layer.k / rows, layer.mass, layer.entropy};
    for (double& x : d.kept_mass) x /= rows;
    for (double& x : d.entropy) x /= rows;
    mass += average(d.kept_mass);
    result.layers.push_back(std::move(d));
  }
  result.kept_mass = layers_.empty() ? 1 : mass / static_cast<double>(layers_.size());
  return result;
}

}  // namespace pivot
