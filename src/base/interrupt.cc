#include "src/base/interrupt.h"

#include <csignal>
#include <cstring>

#include <unistd.h>

namespace pivot {
namespace {

// A signal handler has no other way to reach the program than a global of this type.
volatile std::sig_atomic_t g_signal = 0;  // the first one's number

void on_signal(int signal) {
  if (g_signal != 0) {
    static constexpr char kText[] = "\nstopped at once; the last complete checkpoint is intact\n";
    (void)!write(STDERR_FILENO, kText, sizeof(kText) - 1);
    _exit(128 + signal);
  }
  g_signal = signal;
}

}  // namespace

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return g_signal != 0;
}

bool terminated() {
  return g_signal == SIGTERM;
}

void clear_interrupt() {
  g_signal = 0;
}

}  // namespace pivot
