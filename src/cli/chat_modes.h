#pragma once
/// `pivot chat`: what its two modes are told, and the modes.

#include <cstdio>
#include <string>
#include <vector>

#include "src/decode/sampler.h"
#include "src/decode/session.h"

namespace pivot {

/// Flags of `pivot chat`.
struct TalkOptions {
  SessionOptions session;
  std::string chat_template;
  std::string system;
  std::string prompt;
  bool plain = false;
  int64_t tokens = 512;
  std::vector<std::string> stop;
  bool drop_oldest = false;
  SamplerOptions sampler;

  template <class V>
  void visit(V&& v) {
    session.visit(v);
    v("template", chat_template,
      "name of a built-in chat template or a file of Jinja source; empty takes the model's");
    v("system", system, "system message");
    v("prompt", prompt, "one message: print its answer and leave");
    v("plain", plain, "no conversation: the model continues the text you type");
    v("tokens", tokens, "most tokens of an answer");
    v("stop", stop, "texts that end an answer");
    v("drop_oldest", drop_oldest, "forget the oldest turns when the context is full");
    sampler.visit(v);
  }
};

/// Where a mode reads from and writes answers to; everything else goes to standard error.
struct ChatStreams {
  int in;
  std::FILE* out;
};

/// Messages and answers by the model's chat template. Where the input is no terminal a mistake ends
/// it (UserError); on a terminal it is shown and the conversation goes on.
void run_dialogue(const TalkOptions& options, const ChatStreams& streams);
/// A text that user and model write in turns.
void run_plain(const TalkOptions& options, const ChatStreams& streams);

/// /set of both modes: "" lists, "name=value" sets. Throws UserError and changes nothing on a bad
/// value.
void set_sampler(SamplerOptions& sampler, const std::string& assignment);
/// "a long text of" -> {"a", "long text of"}
std::pair<std::string, std::string> split_command(const std::string& line);
/// `text` with control characters but tab and line end replaced by U+FFFD: what a model writes must
/// not command a terminal.
std::string without_controls(std::string_view text);
/// Writes and flushes; without controls where `out` is a terminal.
void write_text(std::FILE* out, std::string_view text);

}  // namespace pivot
