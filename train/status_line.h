#pragma once
/// The one line a person watches while a model trains.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "train/metrics.h"

namespace pivot {

struct Status {
  StepMetrics step;
  int64_t steps = 0;                // of the run; 0: only time ends it
  std::optional<double> kept_mass;  // latest
  double eta = 0;                   // seconds left
  double epochs = 0;                // of the run, where they decide its length
};

/// step 120/1000 | epoch 0.36/3 | loss 3.912 | norm 0.61 | lr 3.0e-4 | 412 ms | 12.3k tok/s | 48%
/// mfu | mass 0.93 | mem 1.2 GiB | eta 2m11s
std::string format_status(const Status& status);

/// On a terminal one line that is redrawn, else a plain log line every kPlainSeconds.
class StatusLine {
 public:
  static constexpr double kPlainSeconds = 5;

  void show(const Status& status);
  /// Takes the line off the terminal.
  void clear();

 private:
  std::optional<std::chrono::steady_clock::time_point> shown_;
};

}  // namespace pivot
