// Horizontal bars with error bars, values in numbers behind them.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "src/base/check.h"
#include "src/report/html.h"
#include "src/report/svg_canvas.h"
#include "src/report/svg_plot.h"

namespace pivot::report {
namespace {

constexpr double kWidth = 560;
constexpr double kBarHeight = 16, kRowHeight = 26;

// "0.9831 ± 0.0057 (n 512)"
std::string value_text(const Bar& bar) {
  std::string text = std::isfinite(bar.value) ? fmt::format("{:.4f}", bar.value) : "none";
  if (bar.error > 0) text += fmt::format(" ± {:.4f}", bar.error);
  return bar.note.empty() ? text : text + "  " + bar.note;
}

void draw_bar(SvgCanvas& canvas, const Bar& bar, const Axis& x, const PlotArea& area, double top) {
  const double value =
      std::isfinite(bar.value) ? std::clamp(bar.value, x.low(), x.high()) : x.low();
  const double from = x.pixel(x.low());
  const double to = x.pixel(value);
  canvas.text(area.left - 8, top + 12.5, bar.label, "end", "label");
  canvas.raw(
      fmt::format("<rect class=\"f{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{}: {}"
                  "</title></rect>\n",
                  bar.color % kPaletteSize, coordinate(from), coordinate(top),
                  coordinate(std::max(to - from, 0.5)), coordinate(kBarHeight), escape(bar.label),
                  escape(value_text(bar))));
  if (bar.error > 0 && std::isfinite(bar.value)) {
    const double low = x.pixel(std::clamp(bar.value - bar.error, x.low(), x.high()));
    const double high = x.pixel(std::clamp(bar.value + bar.error, x.low(), x.high()));
    const double middle = top + kBarHeight / 2;
    canvas.line(low, middle, high, middle, "error");
    canvas.line(low, middle - 4, low, middle + 4, "error");
    canvas.line(high, middle - 4, high, middle + 4, "error");
  }
  canvas.text(area.right + 8, top + 12.5, value_text(bar), "start", "label");
}

}  // namespace

std::string to_svg(const BarPlot& plot) {
  if (plot.bars.empty()) return "";
  PIVOT_CHECK(plot.low < plot.high, "bars from {} to {}", plot.low, plot.high);
  double label_width = 40, note_width = 60;
  for (const Bar& bar : plot.bars) {
    label_width = std::max(label_width, text_width(bar.label));
    note_width = std::max(note_width, text_width(value_text(bar)));
  }
  label_width = std::min(label_width, kWidth / 2);
  const double bottom = 36 + kRowHeight * static_cast<double>(plot.bars.size());
  const double right = std::max(kWidth - 12 - note_width, label_width + 90);
  const PlotArea area{label_width + 16, 30, right, bottom};
  const Axis x(Scale::Linear, plot.low, plot.high, area.left, area.right);
  SvgCanvas canvas(std::max(kWidth, right + note_width + 12), bottom + 42, plot.title,
                   plot.description);
  for (const double tick : x.ticks(4)) {
    canvas.line(x.pixel(tick), area.top, x.pixel(tick), area.bottom, "grid");
    canvas.text(x.pixel(tick), area.bottom + 16, short_number(tick), "middle");
  }
  canvas.text((area.left + area.right) / 2, area.bottom + 33, plot.x_label, "middle");
  double top = area.top + 8;
  for (const Bar& bar : plot.bars) {
    draw_bar(canvas, bar, x, area, top);
    top += kRowHeight;
  }
  canvas.line(area.left, area.top, area.left, area.bottom, "axis");
  return canvas.finish();
}

}  // namespace pivot::report
