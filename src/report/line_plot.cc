// Line charts: thinning, paths, a legend above and names at the ends of the lines.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "src/base/check.h"
#include "src/report/html.h"
#include "src/report/svg_canvas.h"
#include "src/report/svg_plot.h"

namespace pivot::report {
namespace {

constexpr double kWidth = 560, kHeight = 320;
constexpr size_t kMostPoints = 900;  // about two per pixel of the drawing area
constexpr int kRampBase = 1000;      // Line::color from here on: a thousandth of the ramp each

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  bool empty() const { return low > high; }
};

// Only points that can be drawn on these axes, breaks kept as NaN.
Line drawable(const Line& line, const LinePlot& plot) {
  PIVOT_CHECK(line.x.size() == line.y.size(), "line {}: {} x, {} y", line.name, line.x.size(),
              line.y.size());
  Line out = line;
  for (size_t i = 0; i < out.x.size(); ++i) {
    const bool on_axes = (plot.x_scale == Scale::Linear || out.x[i] > 0) &&
                         (plot.y_scale == Scale::Linear || out.y[i] > 0);
    if (!std::isfinite(out.y[i]) || !on_axes) out.y[i] = std::numeric_limits<double>::quiet_NaN();
  }
  return out;
}

std::string color_attributes(int color, const char* property) {
  if (color >= kRampBase) {
    return fmt::format("style=\"{}:{}\"", property == std::string("s") ? "stroke" : "fill",
                       ramp_hex((color - kRampBase) / 1000.0));
  }
  return "";
}

std::string color_class(int color, const char* property) {
  return color >= kRampBase ? "" : fmt::format(" {}{}", property, color % kPaletteSize);
}

std::string path_data(const Line& line, const Axis& x, const Axis& y) {
  std::string d;
  bool drawing = false;
  for (size_t i = 0; i < line.x.size(); ++i) {
    if (std::isnan(line.y[i])) {
      drawing = false;
      continue;
    }
    const double clamped = std::clamp(line.y[i], y.low(), y.high());
    d += fmt::format("{}{} {}", drawing ? "L" : "M", coordinate(x.pixel(line.x[i])),
                     coordinate(y.pixel(clamped)));
    drawing = true;
  }
  return d;
}

double last_value(const Line& line) {
  for (size_t i = line.y.size(); i-- > 0;) {
    if (!std::isnan(line.y[i])) return line.y[i];
  }
  return std::numeric_limits<double>::quiet_NaN();
}

void draw_line(SvgCanvas& canvas, const Line& line, const Axis& x, const Axis& y) {
  std::string css = "line" + color_class(line.color, "s");
  if (line.style == LineStyle::Faint) css += " faint";
  if (line.style == LineStyle::Dashed) css += " dashed";
  canvas.raw(fmt::format("<path class=\"{}\" {} d=\"{}\"><title>{}: {}</title></path>\n", css,
                         color_attributes(line.color, "s"), path_data(line, x, y),
                         escape(line.name), short_number(last_value(line))));
  size_t points = 0;
  for (const double v : line.y) points += !std::isnan(v);
  if (line.style != LineStyle::Marked && points > 1) return;
  for (size_t i = 0; i < line.x.size(); ++i) {
    if (std::isnan(line.y[i])) continue;
    canvas.raw(
        fmt::format("<circle class=\"{}\" {} cx=\"{}\" cy=\"{}\" r=\"3\"><title>{}: {} at {}"
                    "</title></circle>\n",
                    color_class(line.color, "f"), color_attributes(line.color, "f"),
                    coordinate(x.pixel(line.x[i])),
                    coordinate(y.pixel(std::clamp(line.y[i], y.low(), y.high()))),
                    escape(line.name), short_number(line.y[i]), short_number(line.x[i])));
  }
}

// Names at the right ends, pushed apart where the lines end close together.
void draw_end_labels(SvgCanvas& canvas, const std::vector<Line>& lines, const Axis& y,
                     const PlotArea& area) {
  struct Label {
    double at;
    std::string text;
    int color;
  };
  std::vector<Label> labels;
  for (const Line& line : lines) {
    if (line.style == LineStyle::Faint) continue;
    const double value = last_value(line);
    labels.push_back(
        {y.pixel(std::clamp(value, y.low(), y.high())), short_number(value), line.color});
  }
  std::sort(labels.begin(), labels.end(),
            [](const Label& a, const Label& b) { return a.at < b.at; });
  constexpr double kLineHeight = 13;
  const double room = area.bottom - area.top + kLineHeight;
  if (static_cast<double>(labels.size()) * kLineHeight > room) {
    labels = {labels.front(), labels.back()};  // only the extremes fit
  }
  for (size_t i = 1; i < labels.size(); ++i) {
    labels[i].at = std::max(labels[i].at, labels[i - 1].at + kLineHeight);
  }
  double lowest = area.bottom;
  for (size_t i = labels.size(); i-- > 0;) {
    labels[i].at = std::min(labels[i].at, lowest);
    lowest = labels[i].at - kLineHeight;
    canvas.raw(fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\" {}>{}</text>\n",
                           coordinate(area.right + 5), coordinate(labels[i].at + 4),
                           color_class(labels[i].color, "f"),
                           color_attributes(labels[i].color, "f"), escape(labels[i].text)));
  }
}

// One swatch per line; long lists of ramp colours are shown as first, dots, last.
void draw_legend(SvgCanvas& canvas, const std::vector<Line>& lines, double width) {
  if (lines.size() < 2) return;
  double x = 56;
  const double y = 36;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    const bool skipped = lines.size() > kPaletteSize && i > 0 && i + 1 < lines.size();
    if (skipped) {
      if (i == 1) {
        canvas.text(x, y + 4, "…");
        x += 20;
      }
      continue;
    }
    std::string css = "line" + color_class(line.color, "s");
    if (line.style == LineStyle::Faint) css += " faint";
    if (line.style == LineStyle::Dashed) css += " dashed";
    if (x + 24 + text_width(line.name) > width && x > 60) {
      canvas.text(x, y + 4, "…");
      return;
    }
    canvas.raw(fmt::format("<path class=\"{}\" {} d=\"M{} {}h18\"/>\n", css,
                           color_attributes(line.color, "s"), coordinate(x), coordinate(y)));
    if (line.style == LineStyle::Marked) {
      canvas.raw(fmt::format("<circle class=\"{}\" {} cx=\"{}\" cy=\"{}\" r=\"3\"/>\n",
                             color_class(line.color, "f"), color_attributes(line.color, "f"),
                             coordinate(x + 9), coordinate(y)));
    }
    canvas.text(x + 23, y + 4, line.name, "start", "label");
    x += 23 + text_width(line.name) + 9;
  }
}

}  // namespace

int ramp_color(int index, int count) {
  const double t = count > 1 ? static_cast<double>(index) / (count - 1) : 0;
  // The ramp's ends are too dark for dark pages and too light for white ones.
  return kRampBase + static_cast<int>(std::lround(1000 * (0.32 + 0.48 * t)));
}

Line thinned(const Line& line, size_t limit) {
  if (line.x.size() <= limit || limit < 4) return line;
  Line out = line;
  out.x.clear();
  out.y.clear();
  const size_t stretches = limit / 4;
  for (size_t s = 0; s < stretches; ++s) {
    const size_t begin = s * line.x.size() / stretches;
    const size_t end = (s + 1) * line.x.size() / stretches;
    size_t low = begin, high = begin;
    for (size_t i = begin; i < end; ++i) {
      if (line.y[i] < line.y[low] || std::isnan(line.y[low])) low = i;
      if (line.y[i] > line.y[high] || std::isnan(line.y[high])) high = i;
    }
    std::vector<size_t> keep = {begin, low, high, end - 1};
    std::sort(keep.begin(), keep.end());
    keep.erase(std::unique(keep.begin(), keep.end()), keep.end());
    for (const size_t i : keep) {
      out.x.push_back(line.x[i]);
      out.y.push_back(line.y[i]);
    }
  }
  return out;
}

std::string to_svg(const LinePlot& plot) {
  Range x_range, y_range;
  std::vector<Line> lines;
  for (const Line& source : plot.lines) {
    const Line line = drawable(source, plot);
    Range own;
    for (size_t i = 0; i < line.x.size(); ++i) {
      if (std::isnan(line.y[i])) continue;
      own.add(line.y[i]);
      x_range.add(line.x[i]);
    }
    if (own.empty()) continue;
    y_range.add(own.low);
    y_range.add(own.high);
    lines.push_back(thinned(line, kMostPoints));
  }
  if (lines.empty()) return "";
  const double low = std::min(plot.y_low.value_or(y_range.low), y_range.high);
  const double high = std::max(plot.y_high.value_or(y_range.high), low);
  const PlotArea area{62, lines.size() > 1 ? 52.0 : 32.0, kWidth - 58, kHeight - 44};
  const Axis x(plot.x_scale, x_range.low, x_range.high, area.left, area.right);
  const Axis y = Axis::nice(plot.y_scale, low, high, area.bottom, area.top);
  SvgCanvas canvas(kWidth, kHeight, plot.title, plot.description);
  canvas.y_axis(y, area, plot.y_label);
  canvas.x_axis(x, area, plot.x_label);
  for (const Line& line : lines) draw_line(canvas, line, x, y);
  draw_end_labels(canvas, lines, y, area);
  draw_legend(canvas, lines, kWidth - 10);
  return canvas.finish();
}

}  // namespace pivot::report
