// pivot chat: a text that user and model write in turns.
#include <cstdio>
#include <iostream>

#include <unistd.h>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/decode/generate.h"
#include "src/decode/session.h"

namespace pivot {
namespace {

constexpr const char* kHelp =
    "What you type is added to the text as a new line, and the model continues it.\n"
    "An empty line lets the model go on. \\n inside a line is a line break.\n"
    "  /help              this text\n"
    "  /reset             forget the text\n"
    "  /undo              take back the last turn\n"
    "  /set NAME=VALUE    sampler: temperature, top_k, top_p, min_p, seed, penalties ('/set' "
    "lists)\n"
    "  /attn SPEC         attention of the decoding steps ('/attn' shows it)\n"
    "  /tokens N          most tokens of a turn\n"
    "  /save FILE         write the text to a file\n"
    "  /quit              leave\n";

struct ChatOptions {
  SessionOptions session;
  int64_t tokens = 64;
  std::vector<std::string> stop;
  SamplerOptions sampler;

  template <class V>
  void visit(V&& v) {
    session.visit(v);
    v("tokens", tokens, "most tokens of a turn");
    v("stop", stop, "texts that end a turn");
    sampler.visit(v);
  }
};

class Chat {
 public:
  explicit Chat(ChatOptions options) : options_(std::move(options)), session_(options_.session, 1) {
    log::info("{}: {}", session_.model().path(), session_.describe_attention());
  }

  void run() {
    const bool terminal = ::isatty(STDIN_FILENO) != 0;
    if (terminal) fmt::print("{}", kHelp);
    std::string line;
    for (;;) {
      if (terminal) {
        fmt::print("> ");
        std::fflush(stdout);
      }
      if (!std::getline(std::cin, line)) return;
      // One bad command must not end the conversation.
      try {
        if (!take(line)) return;
      } catch (const UserError& e) {
        log::error("{}", e.what());
      }
    }
  }

 private:
  // False: the user leaves.
  bool take(const std::string& line) {
    if (line.empty() || line[0] != '/') {
      turn(line);
      return true;
    }
    const size_t space = std::min(line.find(' '), line.size());
    const std::string command = line.substr(0, space);
    const std::string rest = line.substr(std::min(space + 1, line.size()));
    if (command == "/quit") return false;
    if (command == "/help") {
      fmt::print("{}", kHelp);
    } else if (command == "/reset") {
      text_.clear();
      turns_.clear();
    } else if (command == "/undo") {
      undo();
    } else if (command == "/set") {
      set(rest);
    } else if (command == "/attn") {
      if (!rest.empty()) session_.set_attention(rest, options_.session.prefill);
      fmt::print("{}\n", session_.describe_attention());
    } else if (command == "/tokens") {
      const int64_t tokens = parse_count(rest);
      if (tokens < 1) throw_user("/tokens {}: at least 1", rest);
      options_.tokens = tokens;
    } else if (command == "/save") {
      if (rest.empty()) throw_user("/save needs a file name");
      write_file_atomically(rest, text_);
      fmt::print("{}: {} bytes\n", rest, text_.size());
    } else {
      throw_user("{} is no command; /help lists them", command);
    }
    return true;
  }

  void undo() {
    if (turns_.empty()) throw_user("there is nothing to undo");
    text_.resize(turns_.back());
    turns_.pop_back();
  }

  void set(const std::string& assignment) {
    SamplerOptions changed = options_.sampler;
    std::vector<OptionField> fields = option_fields(changed);
    if (assignment.empty()) {
      for (const OptionField& field : fields) fmt::print("{} = {}\n", field.key, field.print());
      return;
    }
    set_override(fields, assignment);
    validate(changed);
    options_.sampler = changed;
  }

  void turn(const std::string& line) {
    std::string text = text_;
    if (!line.empty()) {
      if (!text.empty() && text.back() != '\n') text += '\n';
      text += with_breaks(line);
    }
    const std::vector<int32_t> prompt = session_.tokenizer().encode(text);
    const int64_t room = session_.engine().max_context();
    if (static_cast<int64_t>(prompt.size()) >= room) {
      throw_user("the text has {} tokens and the context holds {}: /undo or /reset", prompt.size(),
                 room);
    }
    const GenerateResult result = generate(session_.engine(), session_.tokenizer(), prompt,
                                           {.sampler = options_.sampler,
                                            .max_tokens = options_.tokens,
                                            .samples = 1,
                                            .stop = options_.stop},
                                           [](int, std::string_view piece) {
                                             std::fwrite(piece.data(), 1, piece.size(), stdout);
                                             std::fflush(stdout);
                                           });
    fmt::print("\n");
    std::fflush(stdout);
    turns_.push_back(text_.size());
    text_ = text + result.samples[0].text;
    clear_interrupt();
    const auto used = static_cast<int64_t>(prompt.size() + result.samples[0].ids.size());
    const double seconds = result.timing.decode_seconds;
    log::info("context {} / {} tokens ({} %); {:.1f} tok/s; kept mass {:.4f}; {}", used, room,
              100 * used / room,
              seconds > 0 ? static_cast<double>(result.timing.decoded_tokens) / seconds : 0.0,
              session_.kept_mass(), to_string(result.samples[0].finish));
  }

  static std::string with_breaks(const std::string& line) {
    std::string out;
    for (size_t i = 0; i < line.size(); ++i) {
      const bool is_break = line.compare(i, 2, "\\n") == 0;
      out += is_break ? '\n' : line[i];
      if (is_break) ++i;
    }
    return out;
  }

  ChatOptions options_;
  Session session_;
  std::string text_;
  std::vector<size_t> turns_;  // length of the text before each turn
};

}  // namespace

int run_chat(const std::vector<std::string>& args) {
  ChatOptions options;
  CommandLine line("chat", "Write a text with a model, turn by turn");
  line.options(options);
  line.footer("Inside, /help lists the commands.");
  if (!line.parse(args)) return 0;
  validate(options.sampler);
  catch_interrupts();
  Chat(std::move(options)).run();
  return 0;
}

}  // namespace pivot
