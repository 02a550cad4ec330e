#pragma once
/// What all pictures share: the opening with title and description, text, frames and grids.

#include <string>
#include <string_view>

#include "src/report/axis.h"

namespace pivot::report {

/// The rectangle in which values are drawn, in pixels of the view box.
struct PlotArea {
  double left, top, right, bottom;
};

/// A growing SVG element. Texts are escaped here, once.
class SvgCanvas {
 public:
  /// Opens the picture and prints `title` above it.
  SvgCanvas(double width, double height, std::string_view title, std::string_view description);

  /// anchor: "start", "middle" or "end"; css: classes.
  void text(double x, double y, std::string_view text, std::string_view anchor = "start",
            std::string_view css = "");
  /// The same, turned to read upwards (labels of vertical axes).
  void text_upwards(double x, double y, std::string_view text);
  void line(double x1, double y1, double x2, double y2, std::string_view css);
  /// Verbatim, well-formed SVG.
  void raw(std::string_view svg) { svg_ += svg; }

  /// Grid lines and numbers of both axes and their labels.
  void x_axis(const Axis& axis, const PlotArea& area, std::string_view label);
  void y_axis(const Axis& axis, const PlotArea& area, std::string_view label);

  std::string finish();

 private:
  std::string svg_;
};

/// Coordinates with one decimal: enough for a screen, and small files.
std::string coordinate(double pixel);
/// Width of a text in 12 px type, roughly.
double text_width(std::string_view text);

}  // namespace pivot::report
