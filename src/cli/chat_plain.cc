// pivot chat --plain: what is typed is added to the text, and the model continues it.
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "src/cli/chat_modes.h"
#include "src/cli/line_input.h"
#include "src/decode/generate.h"

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

std::string with_breaks(const std::string& line) {
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool is_break = line.compare(i, 2, "\\n") == 0;
    out += is_break ? '\n' : line[i];
    if (is_break) ++i;
  }
  return out;
}

class PlainChat {
 public:
  PlainChat(const TalkOptions& options, const ChatStreams& streams)
      : options_(options), streams_(streams), session_(options_.session, 1) {
    log::info("{}: {}", session_.model().path(), session_.describe_attention());
    cache_.emplace(session_.engine());
  }

  void run() {
    if (!options_.prompt.empty()) {
      turn(options_.prompt);
      return;
    }
    LineInput input(streams_.in);
    if (input.terminal()) fmt::print(stderr, "{}", kHelp);
    while (const std::optional<Entry> entry = input.next()) {
      try {
        if (!take(*entry)) return;
      } catch (const UserError& e) {
        if (!input.terminal()) throw;
        log::error("{}", e.what());
      }
      if (interrupted() && (!input.terminal() || terminated())) return;
      clear_interrupt();
    }
  }

 private:
  // False: the user leaves.
  bool take(const Entry& entry) {
    const std::string& line = entry.text;
    if (entry.block || line.empty() || line[0] != '/') {
      turn(line);
      return true;
    }
    const auto [command, rest] = split_command(line);
    if (command == "/quit") return false;
    if (command == "/help") {
      fmt::print(stderr, "{}", kHelp);
    } else if (command == "/reset") {
      text_.clear();
      turns_.clear();
    } else if (command == "/undo") {
      undo();
    } else if (command == "/set") {
      set_sampler(options_.sampler, rest);
    } else if (command == "/attn") {
      attend(rest);
    } else if (command == "/tokens") {
      const int64_t tokens = parse_count(rest);
      if (tokens < 1) throw_user("/tokens {}: at least 1", rest);
      options_.tokens = tokens;
    } else if (command == "/save") {
      if (rest.empty()) throw_user("/save needs a file name");
      write_file_atomically(rest, text_);
      fmt::print(stderr, "{}: {} bytes\n", rest, text_.size());
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

  void attend(const std::string& spec) {
    if (!spec.empty()) {
      parse_layer_policies(spec, session_.model().model().config.layers);  // before anything goes
      cache_.reset();
      session_.set_attention(spec, options_.session.prefill);
      cache_.emplace(session_.engine());
    }
    fmt::print(stderr, "{}\n", session_.describe_attention());
  }

  void turn(const std::string& line) {
    std::string text = text_;
    if (!line.empty()) {
      if (!text.empty() && text.back() != '\n') text += '\n';
      text += with_breaks(line);
    }
    const std::vector<int32_t> prompt = session_.tokenizer().encode(text);
    Engine& engine = session_.engine();
    const int64_t room = engine.max_context();
    if (static_cast<int64_t>(prompt.size()) >= room) {
      throw_user("the text has {} tokens and the context holds {}: /undo or /reset", prompt.size(),
                 room);
    }
    engine.restart_kept_mass();
    const GenerateResult result =
        generate(engine, *cache_, session_.tokenizer(), prompt,
                 {.sampler = options_.sampler,
                  .max_tokens = options_.tokens,
                  .samples = 1,
                  .stop = options_.stop},
                 [&](int, std::string_view piece) { write_text(streams_.out, piece); });
    write_text(streams_.out, "\n");
    turns_.push_back(text_.size());
    text_ = text + result.samples[0].text;
    const auto used = static_cast<int64_t>(prompt.size() + result.samples[0].ids.size());
    const double seconds = result.timing.decode_seconds;
    log::info("context {} / {} tokens ({} %); {:.1f} tok/s; kept mass {:.4f}; {}", used, room,
              100 * used / room,
              seconds > 0 ? static_cast<double>(result.timing.decoded_tokens) / seconds : 0.0,
              session_.kept_mass(), to_string(result.samples[0].finish));
  }

  TalkOptions options_;
  ChatStreams streams_;
  Session session_;
  std::optional<PromptCache> cache_;
  std::string text_;
  std::vector<size_t> turns_;  // length of the text before each turn
};

}  // namespace

void run_plain(const TalkOptions& options, const ChatStreams& streams) {
  PlainChat(options, streams).run();
}

}  // namespace pivot
