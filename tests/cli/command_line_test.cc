#include "src/cli/command_line.h"

#include "src/base/check.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

struct Flags {
  int64_t limit = 10;
  bool verbose = false;
  std::string prompt = "x";
  std::vector<std::string> attn;
  template <class V>
  void visit(V&& v) {
    v("limit", limit, "how many");
    v("verbose", verbose, "say more");
    v("prompt", prompt, "beginning");
    v("attn", attn, "specs");
  }
};

bool parse(Flags& flags, std::vector<std::string>& rest, const std::vector<std::string>& args) {
  CommandLine line("try", "a command of the tests");
  line.options(flags);
  line.positional("PATHS", rest, "files", CommandLine::Optional);
  return line.parse(args);
}

}  // namespace

TEST_CASE("flags, switches, lists and positionals") {
  Flags flags;
  std::vector<std::string> rest;
  REQUIRE(parse(flags, rest,
                {"a", "--limit", "8K", "--verbose", "--attn", "dense", "--attn", "topk:1%", "b"}));
  CHECK(flags.limit == 8192);
  CHECK(flags.verbose);
  CHECK(flags.attn == std::vector<std::string>{"dense", "topk:1%"});
  CHECK(rest == std::vector<std::string>{"a", "b"});
}

TEST_CASE("an empty value is empty, not true") {
  Flags flags;
  std::vector<std::string> rest;
  REQUIRE(parse(flags, rest, {"--prompt", ""}));
  CHECK(flags.prompt.empty());
}

TEST_CASE("bad flags and values are user errors that name the flag") {
  Flags flags;
  std::vector<std::string> rest;
  CHECK_THROWS_WITH(parse(flags, rest, {"--limti", "3"}),
                    ContainsSubstring("did you mean --limit?"));
  CHECK_THROWS_WITH(parse(flags, rest, {"--limit", "many"}), ContainsSubstring("--limit"));
  CHECK_THROWS_AS(parse(flags, rest, {"--limit"}), UserError);
  CHECK_THROWS_AS(parse(flags, rest, {"--verbose=perhaps"}), UserError);
}

}  // namespace pivot
