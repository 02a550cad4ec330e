#pragma once
/// What `pivot doctor` looks at. Each check gives one line.

#include <string>
#include <vector>

#include "src/base/parallel.h"

namespace pivot {

enum class Verdict { Ok, Warn, Fail };

struct CheckLine {
  std::string name;
  Verdict verdict = Verdict::Ok;
  std::string value;
  std::string hint;  // what to do; empty when ok
};

std::vector<CheckLine> check_build();
std::vector<CheckLine> check_machine(const ThreadPool& pool);
/// CUDA, and every GPU.
std::vector<CheckLine> check_gpus();
std::vector<CheckLine> check_libraries();
/// Temporary directory, current directory, locale.
std::vector<CheckLine> check_surroundings();
/// About a second of sgemm and memory reads.
std::vector<CheckLine> check_speed(ThreadPool& pool);

}  // namespace pivot
