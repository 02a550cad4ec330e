#pragma once
/// Conversations as people keep them in files.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pivot::chat {

struct Message {
  std::string role;     // "system", "user", "assistant", "tool"
  std::string content;  // valid UTF-8
  /// JSON object of the message's other keys ("tool_calls", "name"); "" if none. A "content" in it
  /// replaces the one above: null where the message has none at all.
  std::string extra;
  bool learnt = true;  // assistant messages: false where the file says weight 0
};

struct Conversation {
  std::vector<Message> messages;
  std::string tools;  // JSON list of tool descriptions, "" if none
  std::string file;   // where it comes from, for messages to people
  int64_t line = 0;
};

struct ReaderOptions {
  std::vector<std::string> input;
  std::string format = "auto";
  bool skip_bad = false;

  template <class V>
  void visit(V&& v) {
    v("input", input,
      "JSON or JSON-lines files of conversations (.gz .zst too), directories, globs");
    v("format", format,
      "auto, messages, sharegpt, alpaca or prompt (prompt and completion); auto tells by the keys");
    v("skip_bad", skip_bad, "count and skip lines that are no conversation instead of stopping");
  }
};

struct ReaderCounts {
  int64_t conversations = 0;
  int64_t bad = 0;  // lines skipped
};

/// One conversation after another. Memory is that of one line.
class ConversationReader {
 public:
  /// Throws UserError on a bad option or an input that names no file.
  explicit ConversationReader(ReaderOptions options);
  ~ConversationReader();

  /// False at the end. Throws UserError naming file and line on bad JSON, unknown roles, missing
  /// keys, preference data (chosen/rejected).
  bool next(Conversation& conversation);
  const ReaderCounts& counts() const;
  /// What the input stands for, in the order of reading.
  const std::vector<std::string>& files() const;
  /// Share of the input's bytes that has been read, 0 to 1.
  double progress() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Throws UserError naming the formats if it is none of them.
void require_format(std::string_view format);

/// One line of such a file. Throws UserError beginning with `where`.
Conversation parse_conversation(std::string_view json, std::string_view format,
                                const std::string& where);

}  // namespace pivot::chat
