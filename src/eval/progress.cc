#include "src/eval/progress.h"

#include <algorithm>

#include <fmt/format.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/units.h"

namespace pivot::eval {

Progress::Progress(std::string what, int64_t total, std::string unit)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(std::max<int64_t>(total, 1)),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  log::status_line("");
}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Progress::add(int64_t units) {
  done_ += units;
  const double elapsed = seconds();
  const double share = static_cast<double>(done_) / static_cast<double>(total_);
  const std::string text =
      fmt::format("{}: {:.0f} % | {} {}/s | eta {}", what_, 100 * share,
                  format_si(static_cast<double>(done_) / std::max(elapsed, 1e-9)), unit_,
                  format_duration(elapsed / std::max(share, 1e-9) - elapsed));
  log::status_line(text);
  if (isatty(STDERR_FILENO) == 0 && elapsed - last_line_ >= 10) {
    last_line_ = elapsed;
    log::info("{}", text);
  }
}

}  // namespace pivot::eval
