#include "src/report/svg_canvas.h"

#include <algorithm>

#include <fmt/format.h>

#include "src/report/html.h"

namespace pivot::report {

std::string coordinate(double pixel) {
  std::string text = fmt::format("{:.1f}", pixel);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

double text_width(std::string_view text) {
  const auto letters = std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
  return 6.8 * static_cast<double>(letters);
}

SvgCanvas::SvgCanvas(double width, double height, std::string_view title,
                     std::string_view description) {
  svg_ =
      fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">\n",
                  coordinate(width), coordinate(height));
  svg_ += fmt::format("<title>{}</title>\n<desc>{}</desc>\n", escape(title), escape(description));
  text(4, 16, title, "start", "title");
}

void SvgCanvas::text(double x, double y, std::string_view text, std::string_view anchor,
                     std::string_view css) {
  svg_ += fmt::format("<text x=\"{}\" y=\"{}\"", coordinate(x), coordinate(y));
  if (anchor != "start") svg_ += fmt::format(" text-anchor=\"{}\"", anchor);
  if (!css.empty()) svg_ += fmt::format(" class=\"{}\"", css);
  svg_ += fmt::format(">{}</text>\n", escape(text));
}

void SvgCanvas::text_upwards(double x, double y, std::string_view text) {
  svg_ += fmt::format(
      "<text transform=\"translate({} {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
      coordinate(x), coordinate(y), escape(text));
}

void SvgCanvas::line(double x1, double y1, double x2, double y2, std::string_view css) {
  svg_ += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{}\"/>\n",
                      coordinate(x1), coordinate(y1), coordinate(x2), coordinate(y2), css);
}

void SvgCanvas::x_axis(const Axis& axis, const PlotArea& area, std::string_view label) {
  for (const double tick : axis.ticks(6)) {
    const double x = axis.pixel(tick);
    line(x, area.top, x, area.bottom, "grid");
    text(x, area.bottom + 16, short_number(tick), "middle");
  }
  line(area.left, area.bottom, area.right, area.bottom, "axis");
  text((area.left + area.right) / 2, area.bottom + 33, label, "middle");
}

void SvgCanvas::y_axis(const Axis& axis, const PlotArea& area, std::string_view label) {
  for (const double tick : axis.ticks(5)) {
    const double y = axis.pixel(tick);
    line(area.left, y, area.right, y, "grid");
    text(area.left - 7, y + 4, short_number(tick), "end");
  }
  if (!label.empty()) text_upwards(12, (area.top + area.bottom) / 2, label);
}

std::string SvgCanvas::finish() {
  return svg_ + "</svg>\n";
}

}  // namespace pivot::report
