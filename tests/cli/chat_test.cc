// `pivot chat` driven through a pipe.
#include <cstdio>
#include <fstream>

#include <fcntl.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/cli/chat_modes.h"
#include "src/cli/commands.h"
#include "src/cli/line_input.h"
#include "tests/decode/counting_run.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot {
namespace {

// A file that is read from, or was written to, as a stream.
class Stream {
 public:
  explicit Stream(const std::string& text = "") : file_(std::tmpfile()) {
    std::fwrite(text.data(), 1, text.size(), file_);
    std::fflush(file_);
    ::lseek(fd(), 0, SEEK_SET);
  }
  ~Stream() { std::fclose(file_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int fd() const { return ::fileno(file_); }
  std::FILE* file() const { return file_; }
  std::string text() const {
    std::fflush(file_);
    std::string out(static_cast<size_t>(::lseek(fd(), 0, SEEK_END)), '\0');
    REQUIRE(::pread(fd(), out.data(), out.size(), 0) == static_cast<ssize_t>(out.size()));
    return out;
  }

 private:
  std::FILE* file_;
};

struct Fixture {
  test::TempDir dir;
  TalkOptions options;

  Fixture() {
    log::set_level(log::Level::Off);
    test::save_talking_model(dir / "run", 600);
    options.session.model = dir / "run";
    options.session.device = "cpu";
    options.session.threads = 1;
    options.chat_template = "chatml";
    options.tokens = 3;
    options.sampler.temperature = 0;
  }
  ~Fixture() { log::set_level(log::Level::Info); }

  std::string run(const std::string& input) {
    const Stream in(input);
    const Stream out;
    (options.plain ? run_plain : run_dialogue)(options, {in.fd(), out.file()});
    return out.text();
  }
};

std::vector<std::string> entries(const std::string& text) {
  const Stream in(text);
  LineInput input(in.fd());
  CHECK_FALSE(input.terminal());
  std::vector<std::string> out;
  while (const auto entry = input.next()) out.push_back(entry->text);
  return out;
}

}  // namespace

TEST_CASE("line input: lines, blocks of lines, a last line without an end") {
  using Entries = std::vector<std::string>;
  CHECK(entries("").empty());
  CHECK(entries("one\ntwo") == Entries{"one", "two"});
  CHECK(entries("one\r\n\ntwo\n") == Entries{"one", "", "two"});
  CHECK(entries("\"\"\"a\nb\n\n c\"\"\"\nd\n") == Entries{"a\nb\n\n c", "d"});
  CHECK(entries("\"\"\"\na\nb\n\"\"\"\n") == Entries{"a\nb"});
  CHECK(entries("\"\"\"/x\"\"\"\n") == Entries{"/x"});
  CHECK(entries(std::string(10000, 'x') + "\ny\n") == Entries{std::string(10000, 'x'), "y"});
  CHECK_THROWS_WITH(entries("\"\"\"a\nb\n"), ContainsSubstring("never ends"));
}

TEST_CASE("chat: a model cannot command a terminal") {
  CHECK(without_controls("a\tb\nc \u00e9\u00a0\u20ac\U0001F600") ==
        "a\tb\nc \u00e9\u00a0\u20ac\U0001F600");
  CHECK(without_controls("\033[2Jx\r\177") == "\uFFFD[2Jx\uFFFD\uFFFD");
  CHECK(without_controls("\u009b31m\u0080") == "\uFFFD31m\uFFFD");
}

TEST_CASE("chat: from a pipe every line is a message, answers alone come out") {
  Fixture f;
  CHECK(f.run("hello\nagain\n") == "abc\nabc\n");
  CHECK(
      f.run("hello\n/history\n/raw\n/help\n/set\n/attn\n/template\n\n/undo\nagain\n/quit\nno\n") ==
      "abc\nabc\n");
  f.options.tokens = 100;
  CHECK(f.run("hello\n") == "abcdefghijklmnopqrstuvwxyz\n");
  CHECK(f.run("/tokens 2\nhello\n/retry\n/set temperature=1\n/set temperature=0\nhello\n") ==
        "ab\nab\nab\n");
  CHECK(f.run("\"\"\"/quit\"\"\"\n") == "abcdefghijklmnopqrstuvwxyz\n");
  f.options.prompt = "hello";
  f.options.stop = {"fg"};
  CHECK(f.run("nobody reads this\n") == "abcde\n");
}

TEST_CASE("chat: conversations are saved and loaded") {
  Fixture f;
  const std::string file = f.dir / "talk.jsonl";
  f.options.system = "Be brief.";
  f.run("hello\n\"\"\"two\nlines\"\"\"\n/save " + file + "\n");
  const std::string saved =
      R"({"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"hello"},)"
      R"({"role":"assistant","content":"abc"},{"role":"user","content":"two\nlines"},)"
      R"({"role":"assistant","content":"abc"}]})"
      "\n";
  CHECK(read_file(file) == saved);
  f.options.system = "";
  const std::string copy = f.dir / "copy.jsonl";
  CHECK(f.run("/load " + file + "\n/save " + copy + "\n/system off\n/undo\nnew\n/save " + file +
              "\n") == "abc\n");
  CHECK(read_file(copy) == saved);
  CHECK(read_file(file) ==
        R"({"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"abc"},)"
        R"({"role":"user","content":"new"},{"role":"assistant","content":"abc"}]})"
        "\n");
}

TEST_CASE("chat: mistakes in a pipe end it, naming what is wrong") {
  Fixture f;
  CHECK_THROWS_WITH(f.run("/rest\n"), ContainsSubstring("did you mean /reset"));
  CHECK_THROWS_AS(f.run("/undo\n"), UserError);
  CHECK_THROWS_AS(f.run("/tokens 0\n"), UserError);
  CHECK_THROWS_AS(f.run("/set temperature=-1\n"), UserError);
  CHECK_THROWS_AS(f.run("/attn topk:0%\n"), UserError);
  CHECK_THROWS_AS(f.run("/load " + (f.dir / "nothing.jsonl") + "\n"), UserError);
  CHECK_THROWS_AS(f.run("/save\n"), UserError);
  CHECK_THROWS_AS(f.run("/think perhaps\n"), UserError);
  CHECK_THROWS_WITH(f.run(std::string(700, 'x') + "\n"), ContainsSubstring("the context is full"));
  f.options.chat_template = "";
  CHECK_THROWS_WITH(f.run("hello\n"), ContainsSubstring("--plain"));
  CHECK_THROWS_WITH(run_chat({"a", "--model", "b"}), ContainsSubstring("twice"));
  CHECK_THROWS_AS(run_chat({f.dir / "run", "--plain", "--system", "x"}), UserError);
  CHECK_THROWS_AS(run_chat({f.dir / "run", "--tokens", "0"}), UserError);
}

TEST_CASE("chat: a full context forgets the oldest turns where that is wanted") {
  Fixture f;
  const std::string line(150, 'x');
  const std::string input =
      line + "\n" + line + "\n" + line + "\n/save " + (f.dir / "t.jsonl") + "\n";
  CHECK_THROWS_AS(f.run(input), UserError);
  f.options.drop_oldest = true;
  CHECK(f.run(input) == "abc\nabc\nabc\n");
  const std::string saved = read_file(f.dir / "t.jsonl");
  size_t users = 0;
  for (size_t at = 0; (at = saved.find("\"user\"", at)) != std::string::npos; ++at) ++users;
  CHECK(users == 2);
}

TEST_CASE("chat: plain text is continued") {
  Fixture f;
  f.options.plain = true;
  f.options.chat_template = "";
  CHECK(f.run("efg\n\n/undo\n/undo\nk\\n\n/tokens 1\n\n/save " + (f.dir / "text") + "\n") ==
        "hij\nklm\nabc\nd\n");
  CHECK(read_file(f.dir / "text") == "k\nabcd");
  CHECK_THROWS_AS(f.run("/undo\n"), UserError);
}

}  // namespace pivot
