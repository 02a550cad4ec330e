#include <algorithm>
#include <cmath>
#include <regex>

#include "src/report/charts.h"
#include "src/report/svg_plot.h"
#include "tests/support/catch.h"

using namespace pivot::report;

namespace {

// All numbers of the d="" of the first path with this class.
std::vector<double> path_numbers(const std::string& svg, const std::string& css) {
  const size_t path = svg.find("<path class=\"" + css + "\"");
  REQUIRE(path != std::string::npos);
  size_t at = svg.find(" d=\"", path) + 4;
  const std::string d = svg.substr(at, svg.find('"', at) - at);
  std::vector<double> numbers;
  const std::regex number("-?[0-9.]+");
  for (auto it = std::sregex_iterator(d.begin(), d.end(), number); it != std::sregex_iterator();
       ++it) {
    numbers.push_back(std::stod(it->str()));
  }
  return numbers;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("a line runs from corner to corner of its area", "[report]") {
  LinePlot plot;
  plot.title = "T & t";
  plot.lines = {{"a<b", {0, 50, 100}, {0, 5, 10}, LineStyle::Solid, 0}};
  const std::string svg = to_svg(plot);
  const std::vector<double> p = path_numbers(svg, "line s0");
  REQUIRE(p.size() == 6);
  CHECK(p[0] < p[2]);
  CHECK(p[2] < p[4]);
  CHECK(p[1] > p[3]);  // pixels grow downwards
  CHECK(p[3] > p[5]);
  CHECK(p[2] == Approx((p[0] + p[4]) / 2).margin(0.06));
  CHECK(p[3] == Approx((p[1] + p[5]) / 2).margin(0.06));
  CHECK_THAT(svg, ContainsSubstring("<title>T &amp; t</title>"));
  CHECK_THAT(svg, ContainsSubstring("<desc>"));
  CHECK_THAT(svg, ContainsSubstring("a&lt;b"));
  CHECK(svg.find("a<b") == std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
}

TEST_CASE("points that are not finite break a line", "[report]") {
  LinePlot plot;
  plot.lines = {{"a", {0, 1, 2, 3, 4}, {1, 2, NAN, 3, INFINITY}, LineStyle::Solid, 0}};
  const std::string svg = to_svg(plot);
  const size_t at = svg.find(" d=\"");
  const std::string d = svg.substr(at, svg.find('"', at + 4) - at);
  CHECK(count(d, "M") == 2);
  CHECK(count(d, "L") == 1);
  plot.lines[0].y = {NAN, NAN, NAN, NAN, NAN};
  CHECK(to_svg(plot).empty());
  CHECK(to_svg(LinePlot{}).empty());
}

TEST_CASE("a logarithmic axis leaves out what it cannot show", "[report]") {
  LinePlot plot;
  plot.y_scale = Scale::Log;
  plot.lines = {{"a", {0, 1, 2}, {0, 1, 100}, LineStyle::Solid, 0}};
  CHECK(path_numbers(to_svg(plot), "line s0").size() == 4);
}

TEST_CASE("thinning keeps ends and extremes", "[report]") {
  Line line;
  for (int i = 0; i < 100000; ++i) {
    line.x.push_back(i);
    line.y.push_back(i == 54321 ? 99 : i == 12345 ? -99 : std::sin(i * 0.001));
  }
  const Line thin = thinned(line, 900);
  CHECK(thin.x.size() <= 900);
  CHECK(thin.x.size() > 300);
  CHECK(thin.x.front() == 0);
  CHECK(thin.x.back() == 99999);
  CHECK(*std::max_element(thin.y.begin(), thin.y.end()) == 99);
  CHECK(*std::min_element(thin.y.begin(), thin.y.end()) == -99);
  CHECK(std::is_sorted(thin.x.begin(), thin.x.end()));
}

TEST_CASE("bars are as long as their values", "[report]") {
  BarPlot plot;
  plot.title = "accuracy";
  plot.bars = {
      {"dense", 1.0, 0, "", 0}, {"topk:1%<", 0.5, 0.1, "n 10", 1}, {"none", 0.0, 0, "", 2}};
  const std::string svg = to_svg(plot);
  std::vector<double> widths;
  const std::regex bar("<rect class=\"f[0-9]\"[^>]* width=\"([0-9.]+)\"");
  for (auto it = std::sregex_iterator(svg.begin(), svg.end(), bar); it != std::sregex_iterator();
       ++it) {
    widths.push_back(std::stod((*it)[1].str()));
  }
  REQUIRE(widths.size() == 3);
  CHECK(widths[1] == Approx(widths[0] / 2).margin(0.1));
  CHECK(widths[2] < 1);
  CHECK(count(svg, "class=\"error\"") == 3);  // one bar has an error: a line and two ends
  CHECK_THAT(svg, ContainsSubstring("0.5000 ± 0.1000  n 10"));
  CHECK_THAT(svg, ContainsSubstring("topk:1%&lt;"));
}

TEST_CASE("heat-map cells carry value and colour", "[report]") {
  HeatMap map;
  map.row_label = "layer";
  map.column_label = "head";
  map.values = {{0.0, 1.0}, {0.5, NAN}};
  const std::string svg = to_svg(map);
  CHECK_THAT(svg, ContainsSubstring("layer 0, head 1: 1<"));
  CHECK_THAT(svg, ContainsSubstring("layer 1, head 1: none"));
  CHECK_THAT(svg, ContainsSubstring("class=\"empty\""));
  CHECK_THAT(svg, ContainsSubstring(ramp_hex(0)));
  CHECK_THAT(svg, ContainsSubstring(ramp_hex(1)));
  CHECK(ramp_hex(0) == "#440154");
  CHECK(ramp_hex(1) == "#fde725");
  CHECK(to_svg(HeatMap{}).empty());
}

TEST_CASE("smoothing averages, keeps constants and does not lag", "[report]") {
  Series constant, ramp;
  for (int i = 0; i < 100; ++i) {
    constant.x.push_back(i);
    constant.y.push_back(3);
    ramp.x.push_back(i);
    ramp.y.push_back(i % 7 == 0 ? NAN : i);
  }
  for (const double y : smoothed(constant, 10).y) CHECK(y == Approx(3));
  const Series smooth = smoothed(ramp, 10);
  CHECK(smooth.y[40] == Approx(smooth.x[40]).margin(0.7));
  CHECK(smoothed(Series{}, 10).empty());
}
