#include "train/status_line.h"

#include <unistd.h>

#include "src/base/log.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr double kRedrawSeconds = 0.1;

// 3.0e-4, without the leading zero of the exponent.
std::string format_lr(double lr) {
  std::string text = fmt::format("{:.1e}", lr);
  const size_t zero = text.find("e-0");
  if (zero != std::string::npos) text.erase(zero + 2, 1);
  return text;
}

std::string format_ms(double seconds) {
  const double ms = 1e3 * seconds;
  return ms < 10 ? fmt::format("{:.1f} ms", ms) : fmt::format("{:.0f} ms", ms);
}

}  // namespace

std::string format_status(const Status& status) {
  const StepMetrics& m = status.step;
  std::string line = fmt::format("step {}", m.step);
  if (status.steps > 0) line += fmt::format("/{}", status.steps);
  if (status.epochs > 0) line += fmt::format(" | epoch {:.2f}/{:g}", m.epoch, status.epochs);
  line += fmt::format(" | loss {:.3f} | norm {:.2f} | lr {} | {} | {} tok/s | {:.0f}% mfu", m.loss,
                      m.grad_norm, format_lr(m.lr), format_ms(m.seconds),
                      format_si(m.tokens_per_second), 100 * m.mfu);
  if (status.kept_mass) line += fmt::format(" | mass {:.2f}", *status.kept_mass);
  return line + fmt::format(" | mem {} | eta {}", format_bytes(static_cast<double>(m.memory)),
                            format_duration(status.eta));
}

void StatusLine::show(const Status& status) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const auto now = std::chrono::steady_clock::now();
  const double pause = terminal ? kRedrawSeconds : kPlainSeconds;
  if (shown_ && std::chrono::duration<double>(now - *shown_).count() < pause) return;
  shown_ = now;
  if (terminal) {
    log::status_line(format_status(status));
  } else {
    log::info("{}", format_status(status));
  }
}

void StatusLine::clear() {
  log::status_line("");
}

}  // namespace pivot
