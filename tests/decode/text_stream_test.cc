#include "src/decode/text_stream.h"

#include "src/base/check.h"
#include "tests/support/catch.h"

namespace pivot {

TEST_CASE("stop strings are found across pieces, and nothing after them comes out") {
  StopMatcher m({"END", "\n\n"});
  CHECK(m.push("abc E") == "abc ");
  CHECK(m.push("N") == "");
  CHECK(m.push("X") == "ENX");
  CHECK_FALSE(m.stopped());
  CHECK(m.push("y\n") == "y");
  CHECK(m.push("\nmore") == "");
  CHECK(m.stopped());
  CHECK(m.push("more") == "");
  CHECK(m.finish() == "");
}

TEST_CASE("the earliest stop string wins; text before it in the same piece comes out") {
  StopMatcher m({"cd", "b"});
  CHECK(m.push("abcd") == "a");
  CHECK(m.stopped());
}

TEST_CASE("held back text comes out at the end; overlapping beginnings are kept long enough") {
  StopMatcher m({"aab"});
  CHECK(m.push("xaa") == "x");
  CHECK(m.push("a") == "a");
  CHECK(m.finish() == "aa");
  StopMatcher n({"aab"});
  CHECK(n.push("aaa") == "a");
  CHECK(n.push("b!") == "");
  CHECK(n.stopped());
}

TEST_CASE("without stop strings text passes through; empty ones are refused") {
  StopMatcher m({});
  CHECK(m.push("abc") == "abc");
  CHECK(m.finish() == "");
  CHECK_THROWS_AS(StopMatcher({""}), UserError);
}

}  // namespace pivot
