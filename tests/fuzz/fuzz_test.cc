#include <algorithm>
#include <filesystem>

#include "src/base/file.h"
#include "src/base/log.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/targets.h"
#include "tests/support/catch.h"

namespace pivot::fuzz {
namespace {

namespace fs = std::filesystem;

// Of every input: seconds in all; scripts/fuzz.sh does the rest.
constexpr uint64_t kMutations = 500;

// Inputs that once were findings.
std::vector<std::string> corpus(const std::string& target) {
  std::vector<std::string> paths, inputs;
  const std::string dir = "tests/fuzz/corpus/" + target;
  if (!fs::exists(dir)) return inputs;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) inputs.push_back(read_file(path));
  return inputs;
}

TEST_CASE("readers take their seeds and survive damage") {
  for (const Target& target : targets()) {
    DYNAMIC_SECTION(target.name) {
      std::vector<std::string> inputs = target.seeds();
      REQUIRE_FALSE(inputs.empty());
      CHECK_NOTHROW(target.read(inputs.front()));  // a seed that is refused tests nothing
      for (const std::string& input : corpus(target.name)) inputs.push_back(input);
      inputs.emplace_back();
      for (size_t i = 0; i < inputs.size(); ++i) {
        CAPTURE(i);
        CHECK_NOTHROW(run(target, inputs[i]));
        for (uint64_t index = 0; index < kMutations; ++index) {
          CAPTURE(index);
          CHECK_NOTHROW(run(target, mutate(inputs[i], index)));
        }
      }
      log::set_level(log::Level::Info);
    }
  }
}

TEST_CASE("mutations are fixed and differ") {
  const std::string input = "{\"text\": \"one\"}";
  int same = 0;
  for (uint64_t index = 0; index < 100; ++index) {
    CHECK(mutate(input, index) == mutate(input, index));
    same += mutate(input, index) == input ? 1 : 0;
  }
  CHECK(same < 10);
}

}  // namespace
}  // namespace pivot::fuzz
