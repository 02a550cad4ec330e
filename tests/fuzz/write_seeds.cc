// write_seeds DIR: the seeds of every target as DIR/TARGET/seed_N, for libFuzzer to start from.
#include <filesystem>

#include <fmt/core.h>

#include "src/base/file.h"
#include "tests/fuzz/targets.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: write_seeds DIR\n");
    return 2;
  }
  for (const pivot::fuzz::Target& target : pivot::fuzz::targets()) {
    const std::string dir = fmt::format("{}/{}", argv[1], target.name);
    std::filesystem::create_directories(dir);
    int number = 0;
    for (const std::string& seed : target.seeds()) {
      pivot::write_file_atomically(fmt::format("{}/seed_{}", dir, number++), seed);
    }
    fmt::print("{}\n", target.name);
  }
}
