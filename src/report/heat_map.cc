// Heat-maps (layer x head) with a colour bar; small ones carry their numbers.
#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "src/base/check.h"
#include "src/report/html.h"
#include "src/report/svg_canvas.h"
#include "src/report/svg_plot.h"

namespace pivot::report {
namespace {

using Rgb = std::array<double, 3>;

// Nine stops of viridis (van der Walt and Smith, matplotlib 2015), linear in between.
constexpr std::array<Rgb, 9> kViridis = {{{68, 1, 84},
                                          {72, 40, 120},
                                          {62, 74, 137},
                                          {49, 104, 142},
                                          {38, 130, 142},
                                          {31, 158, 137},
                                          {73, 193, 109},
                                          {159, 218, 58},
                                          {253, 231, 37}}};

Rgb ramp(double t) {
  const double at = std::clamp(t, 0.0, 1.0) * (kViridis.size() - 1);
  const auto low = std::min(static_cast<size_t>(at), kViridis.size() - 2);
  Rgb color;
  for (size_t c = 0; c < 3; ++c) {
    color[c] = kViridis[low][c] +
               (at - static_cast<double>(low)) * (kViridis[low + 1][c] - kViridis[low][c]);
  }
  return color;
}

// Black or white, whichever stands out (relative luminance, without gamma for simplicity).
const char* ink_on(double t) {
  const Rgb c = ramp(t);
  return 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2] > 120 ? "#000000" : "#ffffff";
}

struct Grid {
  double left = 58, top = 32, cell_width, cell_height;
  size_t rows, columns;
};

void draw_cells(SvgCanvas& canvas, const HeatMap& map, const Grid& grid) {
  const bool numbers = grid.cell_width >= 34 && grid.cell_height >= 16;
  for (size_t r = 0; r < grid.rows; ++r) {
    for (size_t c = 0; c < map.values[r].size(); ++c) {
      const double value = map.values[r][c];
      const double x = grid.left + static_cast<double>(c) * grid.cell_width;
      const double y = grid.top + static_cast<double>(r) * grid.cell_height;
      const double t = (value - map.low) / (map.high - map.low);
      const bool known = std::isfinite(value);
      canvas.raw(
          fmt::format("<rect {} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{} {}, {} {}: "
                      "{}</title></rect>\n",
                      known ? fmt::format("fill=\"{}\"", ramp_hex(t)) : "class=\"empty\"",
                      coordinate(x), coordinate(y), coordinate(grid.cell_width - 1),
                      coordinate(grid.cell_height - 1), escape(map.row_label), r,
                      escape(map.column_label), c, known ? fmt::format("{:.4g}", value) : "none"));
      if (numbers && known) {
        canvas.raw(
            fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" style=\"fill:{}\">{:.3g}"
                        "</text>\n",
                        coordinate(x + grid.cell_width / 2),
                        coordinate(y + grid.cell_height / 2 + 4), ink_on(t), value));
      }
    }
  }
}

void draw_labels(SvgCanvas& canvas, const HeatMap& map, const Grid& grid) {
  const double bottom = grid.top + grid.cell_height * static_cast<double>(grid.rows);
  const auto row_stride = static_cast<size_t>(std::ceil(14 / grid.cell_height));
  const auto column_stride = static_cast<size_t>(std::ceil(24 / grid.cell_width));
  for (size_t r = 0; r < grid.rows; r += row_stride) {
    canvas.text(grid.left - 7, grid.top + (static_cast<double>(r) + 0.5) * grid.cell_height + 4,
                std::to_string(r), "end");
  }
  for (size_t c = 0; c < grid.columns; c += column_stride) {
    canvas.text(grid.left + (static_cast<double>(c) + 0.5) * grid.cell_width, bottom + 15,
                std::to_string(c), "middle");
  }
  canvas.text_upwards(20, (grid.top + bottom) / 2, map.row_label);
  canvas.text(grid.left + grid.cell_width * static_cast<double>(grid.columns) / 2, bottom + 32,
              map.column_label, "middle");
}

void draw_color_bar(SvgCanvas& canvas, const HeatMap& map, double x, double top, double bottom) {
  constexpr int kSteps = 24;
  const double height = (bottom - top) / kSteps;
  for (int i = 0; i < kSteps; ++i) {
    canvas.raw(fmt::format("<rect fill=\"{}\" x=\"{}\" y=\"{}\" width=\"12\" height=\"{}\"/>\n",
                           ramp_hex(1 - (i + 0.5) / kSteps), coordinate(x),
                           coordinate(top + i * height), coordinate(height + 0.5)));
  }
  canvas.text(x + 17, top + 9, short_number(map.high));
  canvas.text(x + 17, bottom, short_number(map.low));
}

}  // namespace

std::string ramp_hex(double t) {
  const Rgb c = ramp(t);
  return fmt::format("#{:02x}{:02x}{:02x}", static_cast<int>(std::lround(c[0])),
                     static_cast<int>(std::lround(c[1])), static_cast<int>(std::lround(c[2])));
}

std::string to_svg(const HeatMap& map) {
  size_t columns = 0;
  for (const auto& row : map.values) columns = std::max(columns, row.size());
  if (columns == 0) return "";
  PIVOT_CHECK(map.low < map.high, "heat-map from {} to {}", map.low, map.high);
  constexpr double kWidth = 560, kBar = 70;
  Grid grid;
  grid.rows = map.values.size();
  grid.columns = columns;
  grid.cell_width = std::min(64.0, (kWidth - grid.left - kBar) / static_cast<double>(columns));
  grid.cell_height = std::clamp(230.0 / static_cast<double>(grid.rows), 7.0, 30.0);
  const double bottom = grid.top + grid.cell_height * static_cast<double>(grid.rows);
  SvgCanvas canvas(kWidth, bottom + 42, map.title, map.description);
  draw_cells(canvas, map, grid);
  draw_labels(canvas, map, grid);
  draw_color_bar(canvas, map, grid.left + grid.cell_width * static_cast<double>(columns) + 14,
                 grid.top, std::max(bottom, grid.top + 40));
  return canvas.finish();
}

}  // namespace pivot::report
