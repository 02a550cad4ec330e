#pragma once
/// How far long work is, and when it will be done, on standard error.

#include <chrono>
#include <cstdint>
#include <string>

namespace pivot::eval {

class Progress {
 public:
  /// `total` pieces of work, called `unit`.
  Progress(std::string what, int64_t total, std::string unit = "tokens");
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Redraws the status line on a terminal; elsewhere logs a line every ten seconds.
  void add(int64_t units);
  double seconds() const;

 private:
  std::string what_, unit_;
  int64_t total_;
  int64_t done_ = 0;
  double last_line_ = 0;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace pivot::eval
