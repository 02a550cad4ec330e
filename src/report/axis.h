#pragma once
/// Axes of the pictures: nice ticks, linear or logarithmic, and the mapping from values to pixels.

#include <string>
#include <vector>

namespace pivot::report {

enum class Scale { Linear, Log };

/// From the values [low, high] to the pixels [from, to] (from > to for a vertical axis).
class Axis {
 public:
  /// Widens a range that is empty or a point. A Log axis needs low > 0.
  Axis(Scale scale, double low, double high, double from, double to);
  /// The same with `low` and `high` moved outwards to ticks.
  static Axis nice(Scale scale, double low, double high, double from, double to);

  double pixel(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  /// About `wanted` ticks inside [low, high]; at least two on a Linear axis.
  std::vector<double> ticks(int wanted = 5) const;

 private:
  Scale scale_;
  double low_, high_, from_, to_;
};

/// Distance of ticks: 1, 2 or 5 times a power of ten, giving at most about `wanted` steps in
/// `range`.
double nice_step(double range, int wanted);

/// Short text of a tick or a value: "0.05", "1.5", "20k", "3M", "1e-04".
std::string short_number(double value);

}  // namespace pivot::report
