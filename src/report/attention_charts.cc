// What attention kept: lines per layer over the steps, heat-maps of layers and heads at the end.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "src/report/charts.h"
#include "src/report/html.h"
#include "src/report/svg_plot.h"

namespace pivot::report {
namespace {

using Field = std::vector<double> LayerAttention::*;

double mean(const std::vector<double>& values) {
  double sum = 0;
  int64_t n = 0;
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    sum += v;
    ++n;
  }
  return n == 0 ? std::nan("") : sum / static_cast<double>(n);
}

std::string figure(const std::string& svg) {
  return svg.empty() ? "" : "<figure>" + svg + "</figure>\n";
}

std::string layer_lines(const RunData& run, Field field, LinePlot plot) {
  size_t layers = 0;
  for (const auto& [step, rows] : run.attention) layers = std::max(layers, rows.size());
  for (size_t l = 0; l < layers; ++l) {
    Line line;
    line.name = fmt::format("layer {}", l);
    line.color = layers <= kPaletteSize ? static_cast<int>(l)
                                        : ramp_color(static_cast<int>(l), static_cast<int>(layers));
    for (const auto& [step, rows] : run.attention) {
      if (l >= rows.size()) continue;
      line.x.push_back(step);
      line.y.push_back(mean(rows[l].*field));
    }
    if (!line.y.empty()) {
      plot.description += fmt::format("Layer {} ends at {}. ", l, short_number(line.y.back()));
    }
    plot.lines.push_back(std::move(line));
  }
  return figure(to_svg(plot));
}

std::string heat(const std::vector<LayerAttention>& layers, Field field, HeatMap map) {
  double low = INFINITY, high = -INFINITY;
  for (const LayerAttention& layer : layers) {
    map.values.push_back(layer.*field);
    for (const double v : layer.*field) {
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  if (low > high) return "";
  const double step = high > low ? nice_step(high - low, 4) : std::max(std::abs(high), 1.0) / 10;
  map.low = std::floor(low / step + 1e-9) * step;
  map.high = std::ceil(high / step - 1e-9) * step;
  if (map.high <= map.low) map.high = map.low + step;
  map.row_label = "layer";
  map.column_label = "head";
  map.description = fmt::format("{}: {} layers, values from {} to {}.", map.title, layers.size(),
                                short_number(low), short_number(high));
  return figure(to_svg(map));
}

std::string policy_table(const std::vector<LayerAttention>& layers) {
  std::vector<std::vector<std::string>> rows;
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerAttention& layer = layers[l];
    const double mass = mean(layer.kept_mass);
    const double entropy = mean(layer.entropy);
    rows.push_back({std::to_string(l), layer.policy,
                    layer.k > 0 ? fmt::format("{:.1f}", layer.k) : "",
                    std::isfinite(mass) ? fmt::format("{:.4f}", mass) : "",
                    std::isfinite(entropy) ? fmt::format("{:.3f}", entropy) : "",
                    std::isfinite(entropy) ? fmt::format("{:.1f}", std::exp(entropy)) : ""});
  }
  return table({"layer", "attention", "keys kept", "kept mass", "entropy (nats)", "exp(entropy)"},
               rows);
}

}  // namespace

std::string attention_charts(const RunData& run) {
  if (run.attention.empty()) return "";
  const auto& [step, last] = *run.attention.rbegin();
  LinePlot mass;
  mass.title = "Kept share of the softmax by layer (mean over heads)";
  mass.x_label = "step";
  mass.y_label = "kept mass";
  mass.y_high = 1;
  LinePlot entropy;
  entropy.title = "Entropy of the kept distribution by layer";
  entropy.x_label = "step";
  entropy.y_label = "nats";
  entropy.y_low = 0;
  HeatMap mass_map;
  mass_map.title = fmt::format("Kept mass at step {}", short_number(step));
  HeatMap entropy_map;
  entropy_map.title = fmt::format("Entropy (nats) at step {}", short_number(step));
  const std::string charts = layer_lines(run, &LayerAttention::kept_mass, mass) +
                             layer_lines(run, &LayerAttention::entropy, entropy) +
                             heat(last, &LayerAttention::kept_mass, mass_map) +
                             heat(last, &LayerAttention::entropy, entropy_map);
  return "<div class=\"charts\">\n" + charts + "</div>\n" + policy_table(last);
}

}  // namespace pivot::report
