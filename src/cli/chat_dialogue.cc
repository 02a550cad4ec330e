// pivot chat: messages and answers, and the commands between them.
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/base/options.h"
#include "src/base/units.h"
#include "src/cli/chat_modes.h"
#include "src/cli/line_input.h"
#include "src/decode/chat_session.h"

namespace pivot {
namespace {

ChatSettings settings_of(const TalkOptions& o) {
  return {.sampler = o.sampler,
          .max_tokens = o.tokens,
          .stop = o.stop,
          .when_full = o.drop_oldest ? WhenFull::DropOldest : WhenFull::Refuse};
}

// The first conversation of a file.
chat::Conversation read_conversation(const std::string& path) {
  chat::ReaderOptions options;
  options.input = {path};
  chat::ConversationReader reader(options);
  chat::Conversation conversation;
  if (!reader.next(conversation)) throw_user("{}: no conversation in it", path);
  return conversation;
}

// The model's own template, or the one named.
chat::Template first_template(const std::string& spec, const Tokenizer& tokenizer) {
  try {
    return chat::load_template(spec, tokenizer);
  } catch (const UserError& e) {
    if (!spec.empty()) throw;
    throw_user("{}\n--plain continues text without a template", e.what());
  }
}

std::string with_argument(const std::string& text, const char* command, const char* what) {
  if (text.empty()) throw_user("{} needs {}", command, what);
  return text;
}

class Dialogue {
 public:
  Dialogue(const TalkOptions& options, const ChatStreams& streams)
      : streams_(streams),
        prefill_(options.session.prefill),
        template_name_(options.chat_template),
        settings_(settings_of(options)),
        session_(options.session, 1),
        chat_(session_, first_template(options.chat_template, session_.tokenizer())) {
    chat_.set_system(options.system);
    log::info("{}: {}", session_.model().path(), session_.describe_attention());
  }

  void run(const std::string& prompt) {
    if (!prompt.empty()) {
      say(prompt);
      return;
    }
    LineInput input(streams_.in);
    if (input.terminal()) fmt::print(stderr, "/help lists the commands, Ctrl-C stops an answer\n");
    while (!left_) {
      try {
        const std::optional<Entry> entry = input.next();
        if (!entry) return;
        take(*entry);
      } catch (const UserError& e) {
        if (!input.terminal()) throw;
        log::error("{}", e.what());
      }
      if (interrupted() && (!input.terminal() || terminated())) return;
      clear_interrupt();
    }
  }

 private:
  using Method = void (Dialogue::*)(const std::string& argument);
  struct Command {
    const char* name;
    const char* argument;
    const char* help;
    Method run;
  };
  static const Command kCommands[];

  void take(const Entry& entry) {
    if (entry.text.empty()) return;
    if (entry.block || entry.text[0] != '/') {
      say(entry.text);
      return;
    }
    const auto [name, argument] = split_command(entry.text);
    std::vector<std::string> names;
    for (const Command* c = kCommands; c->name != nullptr; ++c) {
      if (name == c->name) {
        (this->*c->run)(argument);
        return;
      }
      names.emplace_back(c->name);
    }
    throw_user(
        "{} is no command; did you mean {}? /help lists them (a message that begins "
        "with a '/' goes between \"\"\" and \"\"\")",
        name, nearest_name(name, names));
  }

  void say(const std::string& text) { show(chat_.say(text, settings_, writer())); }

  OnText writer() {
    return [this](int, std::string_view text) { write_text(streams_.out, text); };
  }

  // The end of an answer, and how full the context is.
  void show(const ChatTurn& turn) {
    if (turn.unanswered()) {
      log::info("stopped before the answer began; the message is taken back");
      return;
    }
    write_text(streams_.out, "\n");
    const GenerateTiming& t = turn.timing;
    const double rate =
        t.decode_seconds > 0 ? static_cast<double>(t.decoded_tokens) / t.decode_seconds : 0;
    const bool color = log::use_color();
    fmt::print(stderr,
               "{}[{} of {} tokens, {} %; prompt {}, {} of it known, {:.2f} s; answer {} at {:.1f} "
               "tok/s; kept mass {:.4f}; {}]{}\n",
               color ? "\033[2m" : "", turn.used, chat_.context(),
               100 * turn.used / chat_.context(), t.prompt_tokens, t.reused_tokens,
               t.prefill_seconds, t.decoded_tokens, rate, turn.kept_mass,
               to_string(turn.answer.finish), color ? "\033[0m" : "");
    if (turn.forgotten > 0) log::warning("the oldest {} messages are forgotten", turn.forgotten);
    if (turn.answer.finish == Finish::Context) {
      log::warning("the answer was cut: the context is full. /drop-oldest forgets the oldest turn");
    }
  }

  void help(const std::string&) {
    fmt::print(stderr,
               "What you type is a message to the model. \"\"\" begins and ends one of several "
               "lines.\n");
    for (const Command* c = kCommands; c->name != nullptr; ++c) {
      fmt::print(stderr, "  {:<22} {}\n", std::string(c->name) + " " + c->argument, c->help);
    }
  }
  void reset(const std::string&) { chat_.reset(); }
  void undo(const std::string&) { chat_.undo(); }
  void retry(const std::string&) {
    // The same seed would draw the same answer.
    ChatSettings next = settings_;
    ++next.sampler.seed;
    show(chat_.answer_again(next, writer()));
    settings_ = next;
  }
  void drop_oldest(const std::string&) {
    const int64_t count = chat_.forget_oldest();
    if (count == 0) throw_user("there is no older turn to forget");
    fmt::print(stderr, "{} messages forgotten; {} of {} tokens left\n", count, chat_.tokens(),
               chat_.context());
  }
  void system(const std::string& text) {
    if (text == "off") {
      chat_.set_system("");
    } else if (!text.empty()) {
      chat_.set_system(text);
    }
    fmt::print(stderr, "{}\n", chat_.system().empty() ? "no system message" : chat_.system());
  }
  void set(const std::string& assignment) { set_sampler(settings_.sampler, assignment); }
  void attention(const std::string& spec) {
    if (!spec.empty()) chat_.set_attention(spec, prefill_);
    fmt::print(stderr, "{}\n", session_.describe_attention());
  }
  void tokens(const std::string& text) {
    const int64_t count = parse_count(with_argument(text, "/tokens", "a number"));
    if (count < 1) throw_user("/tokens {}: at least 1", text);
    settings_.max_tokens = count;
  }
  void chat_template(const std::string& spec) {
    if (!spec.empty()) {
      chat_.set_template(chat::load_template(spec, session_.tokenizer()));
      template_name_ = spec;
    }
    fmt::print(stderr, "{}\n{}\n", template_name_.empty() ? "of the model" : template_name_,
               chat_.chat_template().source());
  }
  void save(const std::string& path) {
    write_file_atomically(with_argument(path, "/save", "a file name"), chat_.to_json() + "\n");
    fmt::print(stderr, "{}: {} messages\n", path, chat_.messages().size());
  }
  void load(const std::string& path) {
    chat_.take_over(read_conversation(with_argument(path, "/load", "a file name")));
    fmt::print(stderr, "{}: {} messages, {} of {} tokens\n", path, chat_.messages().size(),
               chat_.tokens(), chat_.context());
  }
  void history(const std::string&) {
    if (!chat_.system().empty()) fmt::print(stderr, "system: {}\n", chat_.system());
    for (const chat::Message& m : chat_.messages()) {
      fmt::print(stderr, "{}: {}\n", m.role, m.content);
    }
  }
  void think(const std::string& value) {
    if (value != "on" && value != "off") throw_user("/think on or /think off");
    chat_.set_variables(value == "on" ? R"({"enable_thinking": true})"
                                      : R"({"enable_thinking": false})");
  }
  void raw(const std::string&) { fmt::print(stderr, "{}\n", chat_.rendered()); }
  void quit(const std::string&) { left_ = true; }

  ChatStreams streams_;
  std::string prefill_, template_name_;
  ChatSettings settings_;
  Session session_;
  ChatSession chat_;
  bool left_ = false;
};

const Dialogue::Command Dialogue::kCommands[] = {
    {"/help", "", "this text", &Dialogue::help},
    {"/reset", "", "forget the conversation (the system message stays)", &Dialogue::reset},
    {"/undo", "", "take back the last message and its answer", &Dialogue::undo},
    {"/retry", "", "another answer to the last message, with the next seed", &Dialogue::retry},
    {"/drop-oldest", "", "forget the oldest message and its answer", &Dialogue::drop_oldest},
    {"/system", "[TEXT]", "set the system message, 'off' for none; or show it", &Dialogue::system},
    {"/set", "[NAME=VALUE]", "sampler: temperature, top_k, top_p, min_p, seed, ...; or list it",
     &Dialogue::set},
    {"/attn", "[SPEC]", "attention of the decoding steps; or show it", &Dialogue::attention},
    {"/tokens", "N", "most tokens of an answer", &Dialogue::tokens},
    {"/template", "[NAME|FILE]", "another chat template; or show it", &Dialogue::chat_template},
    {"/save", "FILE", "write the conversation as a line of JSON", &Dialogue::save},
    {"/load", "FILE", "take over the first conversation of a file", &Dialogue::load},
    {"/history", "", "show the conversation", &Dialogue::history},
    {"/think", "on|off", "the template's variable enable_thinking", &Dialogue::think},
    {"/raw", "", "show the text that the next answer continues", &Dialogue::raw},
    {"/quit", "", "leave", &Dialogue::quit},
    {nullptr, nullptr, nullptr, nullptr},
};

}  // namespace

void run_dialogue(const TalkOptions& options, const ChatStreams& streams) {
  Dialogue(options, streams).run(options.prompt);
}

}  // namespace pivot
