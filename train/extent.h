#pragma once
/// Lengths of training as people write them, and where a run is.

#include <cstdint>
#include <string>
#include <string_view>

namespace pivot {

/// What ends a run: 0 is no limit; at least one is set.
struct RunLimits {
  int64_t steps = 0;
  double seconds = 0;
};

struct Position {
  int64_t step = 0;     // optimiser steps done
  double elapsed = 0;   // seconds of training
  double progress = 0;  // share of the run done: max(step / steps, elapsed / seconds), at most 1
};
Position position_at(int64_t step, double elapsed, const RunLimits& limits);

/// "200" or "2K" steps, "5%" of the run, "90s", "10m", "2h" of time; "0" is off.
struct Extent {
  enum class Unit { Steps, Share, Seconds };
  Unit unit = Unit::Steps;
  double value = 0;
  bool off() const { return value <= 0; }
};
/// Throws UserError that starts with `key`. A share is at most 100%.
Extent parse_extent(std::string_view text, std::string_view key);

/// The extent as a share of the run, at most 1: schedules follow progress, so that a run which ends
/// by time has finished them. Throws UserError where the run has no limit in the extent's unit.
double share_of_run(const Extent& extent, const RunLimits& limits, std::string_view key);

/// True when a multiple of the extent lies in (before, after]: time to save, validate, sample.
bool due(const Extent& every, const Position& before, const Position& after);

}  // namespace pivot
