#pragma once
/// Line charts, bar charts and heat-maps as inline SVG. Colours and fonts are CSS classes and
/// variables of the page (page_style.cc), so pictures follow light, dark and print.

#include <optional>
#include <string>
#include <vector>

#include "src/report/axis.h"

namespace pivot::report {

/// How a line is drawn besides its colour, so that lines can be told apart without colours.
enum class LineStyle { Solid, Faint, Dashed, Marked };

struct Line {
  std::string name;
  std::vector<double> x, y;  // same length; x rising; points that are not finite break the line
  LineStyle style = LineStyle::Solid;
  int color = 0;  // index into the palette
};

struct LinePlot {
  std::string title;
  std::string description;  // for readers who do not see the picture
  std::string x_label;
  std::string y_label;
  Scale x_scale = Scale::Linear;  // points <= 0 are left out on a Log axis
  Scale y_scale = Scale::Linear;
  std::optional<double> y_low, y_high;  // fixed ends of the axis
  std::vector<Line> lines;
};

/// "" when no line has a point. Lines are thinned to what the picture can show (extremes are kept).
std::string to_svg(const LinePlot& plot);

struct Bar {
  std::string label;
  double value = 0;
  double error = 0;  // half length of the error bar
  std::string note;  // printed behind the value
  int color = 0;
};

/// Horizontal bars, one below the other, with error bars and numbers.
struct BarPlot {
  std::string title;
  std::string description;
  std::string x_label;
  double low = 0;
  double high = 1;
  std::vector<Bar> bars;
};
std::string to_svg(const BarPlot& plot);

struct HeatMap {
  std::string title;
  std::string description;
  std::string row_label;     // what a row is: "layer"
  std::string column_label;  // what a column is: "head"
  double low = 0;
  double high = 1;
  std::vector<std::vector<double>> values;  // rows of columns; not finite is drawn empty
};
std::string to_svg(const HeatMap& map);

/// Number of distinct colours; Line::color and Bar::color are taken modulo this.
inline constexpr int kPaletteSize = 7;
/// Beyond the palette: `count` ordered colours (layers) from a ramp, as an index for Line::color.
int ramp_color(int index, int count);

/// The viridis ramp at t in [0, 1], "#rrggbb": lightness rises evenly, also for colour-blind
/// readers.
std::string ramp_hex(double t);

/// Keeps at most `limit` points: of every stretch the first, the smallest, the largest and the
/// last.
Line thinned(const Line& line, size_t limit);

}  // namespace pivot::report
