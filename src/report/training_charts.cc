// Curves of the training itself, of one run or of several over each other.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "src/report/charts.h"
#include "src/report/svg_plot.h"

namespace pivot::report {
namespace {

const Series& column(const std::map<std::string, Series>& columns,
                     std::initializer_list<const char*> names) {
  static const Series kEmpty;
  for (const char* name : names) {
    const auto it = columns.find(name);
    if (it != columns.end()) return it->second;
  }
  return kEmpty;
}

Line line_of(const Series& series, std::string name, LineStyle style, int color) {
  return {std::move(name), series.x, series.y, style, color};
}

std::string figure(const std::string& svg) {
  return svg.empty() ? "" : "<figure>" + svg + "</figure>\n";
}

// Losses that fall by more than a factor of twenty are unreadable on a linear axis.
Scale loss_scale(const std::vector<Line>& lines) {
  double low = INFINITY, high = 0;
  for (const Line& line : lines) {
    for (const double y : line.y) {
      if (!std::isfinite(y)) continue;
      low = std::min(low, y);
      high = std::max(high, y);
    }
  }
  return low > 0 && high > 20 * low ? Scale::Log : Scale::Linear;
}

std::string range_text(const Series& series, const char* what) {
  if (series.empty()) return "";
  return fmt::format("{}: from {} at step {} to {} at step {}. ", what,
                     short_number(series.y.front()), short_number(series.x.front()),
                     short_number(series.y.back()), short_number(series.x.back()));
}

std::string loss_chart(const RunData& run) {
  const Series& raw = column(run.step, {"loss"});
  const Series& held_out = column(run.validation, {"loss"});
  LinePlot plot;
  plot.title = "Loss";
  plot.x_label = "step";
  plot.y_label = "nats per token";
  const Series smooth = smoothed(raw, smoothing_span(raw.x.size()));
  plot.lines = {line_of(raw, "each step", LineStyle::Faint, 0),
                line_of(smooth, "smoothed", LineStyle::Solid, 0),
                line_of(held_out, "held-out", LineStyle::Marked, 1)};
  plot.y_scale = loss_scale(plot.lines);
  plot.description = range_text(smooth, "Training loss") + range_text(held_out, "Held-out loss");
  return figure(to_svg(plot));
}

// The raw values faintly and their average.
std::string noisy_chart(const Series& raw, std::string title, std::string unit, Scale scale) {
  LinePlot plot;
  plot.title = std::move(title);
  plot.x_label = "step";
  plot.y_label = std::move(unit);
  plot.y_scale = scale;
  const Series smooth = smoothed(raw, smoothing_span(raw.x.size()));
  plot.lines = {line_of(raw, "each step", LineStyle::Faint, 0),
                line_of(smooth, "smoothed", LineStyle::Solid, 0)};
  plot.description = range_text(smooth, plot.title.c_str());
  return figure(to_svg(plot));
}

std::string plain_chart(const Series& series, std::string title, std::string unit) {
  LinePlot plot;
  plot.title = std::move(title);
  plot.x_label = "step";
  plot.y_label = std::move(unit);
  plot.y_low = 0;
  plot.lines = {line_of(series, plot.title, LineStyle::Solid, 0)};
  plot.description = range_text(series, plot.title.c_str());
  return figure(to_svg(plot));
}

std::string kept_mass_chart(const Series& series) {
  LinePlot plot;
  plot.title = "Kept share of the softmax, all layers";
  plot.x_label = "step";
  plot.y_label = "kept mass";
  plot.y_high = 1;
  plot.lines = {line_of(series, "kept mass", LineStyle::Solid, 2)};
  plot.description = range_text(series, "Mean kept mass");
  return figure(to_svg(plot));
}

// y against another column's values instead of steps.
Series against(const Series& y, const Series& x) {
  Series out;
  size_t j = 0;
  for (size_t i = 0; i < y.x.size(); ++i) {
    while (j < x.x.size() && x.x[j] < y.x[i]) ++j;
    if (j == x.x.size()) break;
    if (x.x[j] != y.x[i]) continue;
    if (!out.x.empty() && x.y[j] <= out.x.back()) continue;
    out.x.push_back(x.y[j]);
    out.y.push_back(y.y[i]);
  }
  return out;
}

std::string overlay(const std::vector<Line>& lines, const char* title, const char* x_label,
                    const char* y_label) {
  LinePlot plot;
  plot.title = title;
  plot.x_label = x_label;
  plot.y_label = y_label;
  plot.lines = lines;
  plot.y_scale = loss_scale(lines);
  for (const Line& line : lines) {
    if (!line.y.empty()) {
      plot.description += fmt::format("{} ends at {}. ", line.name, short_number(line.y.back()));
    }
  }
  return figure(to_svg(plot));
}

}  // namespace

double smoothing_span(size_t points) {
  return std::max(4.0, static_cast<double>(points) / 30);
}

Series smoothed(const Series& raw, double span) {
  Series out;
  std::vector<double> sums = {0};  // prefix sums of the finite values
  for (size_t i = 0; i < raw.x.size(); ++i) {
    if (!std::isfinite(raw.y[i])) continue;
    out.x.push_back(raw.x[i]);
    sums.push_back(sums.back() + raw.y[i]);
  }
  const auto half = static_cast<size_t>(span / 2);
  for (size_t i = 0; i < out.x.size(); ++i) {
    const size_t begin = i - std::min(i, half);
    const size_t end = std::min(i + half + 1, out.x.size());
    out.y.push_back((sums[end] - sums[begin]) / static_cast<double>(end - begin));
  }
  return out;
}

std::string training_charts(const RunData& run) {
  std::string out = loss_chart(run);
  out += plain_chart(column(run.step, {"lr"}), "Learning rate", "");
  const Series& norm = column(run.step, {"grad_norm"});
  const auto [low, high] = std::minmax_element(norm.y.begin(), norm.y.end());
  const bool wide = !norm.empty() && *low > 0 && *high > 20 * *low;
  out += noisy_chart(norm, "Gradient norm (before clipping)", "L2 norm",
                     wide ? Scale::Log : Scale::Linear);
  out += noisy_chart(column(run.step, {"tokens_per_second", "tok_s"}), "Speed", "tokens per second",
                     Scale::Linear);
  out += kept_mass_chart(column(run.step, {"kept_mass"}));
  return out.empty() ? "" : "<div class=\"charts\">\n" + out + "</div>\n";
}

std::string comparison_charts(const std::vector<RunData>& runs) {
  std::vector<Line> training, by_time, held_out, mass;
  for (size_t r = 0; r < runs.size(); ++r) {
    const RunData& run = runs[r];
    const int color = runs.size() <= kPaletteSize
                          ? static_cast<int>(r)
                          : ramp_color(static_cast<int>(r), static_cast<int>(runs.size()));
    const Series& raw = column(run.step, {"loss"});
    const Series smooth = smoothed(raw, smoothing_span(raw.x.size()));
    const LineStyle style = r % 2 == 0 ? LineStyle::Solid : LineStyle::Dashed;
    training.push_back(line_of(smooth, run.name, style, color));
    by_time.push_back(line_of(against(smooth, column(run.step, {"elapsed", "elapsed_s"})), run.name,
                              style, color));
    held_out.push_back(
        line_of(column(run.validation, {"loss"}), run.name, LineStyle::Marked, color));
    mass.push_back(line_of(column(run.step, {"kept_mass"}), run.name, style, color));
  }
  std::string out = overlay(training, "Training loss (smoothed) by step", "step", "nats per token");
  out += overlay(by_time, "Training loss (smoothed) by time", "seconds", "nats per token");
  out += overlay(held_out, "Held-out loss", "step", "nats per token");
  out += overlay(mass, "Kept share of the softmax", "step", "kept mass");
  return out.empty() ? "" : "<div class=\"charts\">\n" + out + "</div>\n";
}

}  // namespace pivot::report
