// pivot bench: how fast this build is on this machine, beside what the machine can do.
#include <fmt/core.h>

#include "src/base/check.h"
#include "src/base/options.h"
#include "src/cli/bench_measure.h"
#include "src/cli/commands.h"

namespace pivot {
namespace {

struct Benchmark {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>&);
};

constexpr Benchmark kBenchmarks[] = {
    {"gemm", "matrix products of linear layers, forward and backward", &run_bench_gemm},
    {"op", "any basic op by name, or all of them", &run_bench_op},
    {"attention", "attention forward and backward under attention specs side by side",
     &run_bench_attention},
    {"decode", "attention of one new token over a KV cache", &run_bench_decode},
    {"train", "a whole training step: tokens per second", &run_bench_train},
    {"tokenizer", "encoding text: bytes and tokens per second", &run_bench_tokenizer},
};

void print_usage() {
  fmt::print("usage: pivot bench WHAT [--json FILE] ...\n\n");
  for (const Benchmark& b : kBenchmarks) fmt::print("  {:<10} {}\n", b.name, b.summary);
  fmt::print("\n'pivot bench WHAT --help' lists the options.\n");
}

}  // namespace

int run_bench(const std::vector<std::string>& args) {
  if (args.empty()) {
    print_usage();
    return 2;
  }
  if (args[0] == "--help" || args[0] == "-h") {
    print_usage();
    return 0;
  }
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  std::vector<std::string> names;
  for (const Benchmark& b : kBenchmarks) {
    if (args[0] == b.name) return b.run(rest);
    names.emplace_back(b.name);
  }
  throw_user(
      "pivot bench: unknown benchmark '{}'; did you mean '{}'? ('pivot bench --help' lists all)",
      args[0], nearest_name(args[0], names));
}

}  // namespace pivot
