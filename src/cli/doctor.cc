// pivot doctor: is this machine, and this build, fit for the work?
#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/cli/doctor_checks.h"

namespace pivot {
namespace {

struct DoctorOptions {
  std::string json;
  template <class V>
  void visit(V&& v) {
    v("json", json, "also write the checks to this file");
  }
};

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::Ok:
      return "ok";
    case Verdict::Warn:
      return "warn";
    case Verdict::Fail:
      return "FAIL";
  }
  return "";
}

void print(const std::vector<CheckLine>& lines) {
  size_t width = 0;
  for (const CheckLine& line : lines) width = std::max(width, line.name.size());
  for (const CheckLine& line : lines) {
    fmt::print("{:<4}  {:<{}}  {}\n", name_of(line.verdict), line.name, width, line.value);
    if (!line.hint.empty()) fmt::print("      {:<{}}  -> {}\n", "", width, line.hint);
  }
}

void write_json(const std::string& path, const std::vector<CheckLine>& lines) {
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const CheckLine& line : lines) {
    checks.push_back({{"name", line.name},
                      {"verdict", name_of(line.verdict)},
                      {"value", line.value},
                      {"hint", line.hint}});
  }
  const nlohmann::ordered_json document = {{"checks", checks}};
  write_file_atomically(path, document.dump(2) + "\n");
}

}  // namespace

int run_doctor(const std::vector<std::string>& args) {
  DoctorOptions options;
  CommandLine command("doctor", "Check this machine and this build");
  command.options(options);
  command.footer("Exit code 1 if a check fails; warnings do not change it.");
  if (!command.parse(args)) return 0;

  ThreadPool pool;
  std::vector<CheckLine> lines;
  for (auto& part : {check_build(), check_machine(pool), check_gpus(), check_libraries(),
                     check_surroundings(), check_speed(pool)}) {
    lines.insert(lines.end(), part.begin(), part.end());
  }
  print(lines);
  if (!options.json.empty()) write_json(options.json, lines);
  const auto count = [&](Verdict verdict) {
    return std::count_if(lines.begin(), lines.end(),
                         [&](const CheckLine& line) { return line.verdict == verdict; });
  };
  fmt::print("{} checks, {} warnings, {} failed\n", lines.size(), count(Verdict::Warn),
             count(Verdict::Fail));
  return count(Verdict::Fail) > 0 ? 1 : 0;
}

}  // namespace pivot
