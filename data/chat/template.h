#pragma once
/// Chat templates: conversations to the text a model was trained on.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/chat/conversation.h"
#include "data/tokenizer.h"

namespace pivot::chat {

struct RenderOptions {
  bool add_generation_prompt = false;  // ends with the header of an assistant message
  std::string bos_token, eos_token;    // texts of the special tokens the template may name
  /// Texts of other special tokens by name ("pad_token"), as a tokenizer's config lists them.
  std::vector<std::pair<std::string, std::string>> tokens;
  std::string extra;  // JSON object of further variables ("enable_thinking"), or ""
  /// What strftime_now() gives, as seconds since 1970; a template's text must not depend on the day
  /// unless asked to.
  int64_t now = 0;
};

/// A half-open range of bytes of a rendered text.
struct TextSpan {
  int64_t begin = 0;
  int64_t end = 0;
  friend bool operator==(const TextSpan&, const TextSpan&) = default;
};

struct Rendered {
  std::string text;
  /// What the assistant said, ascending: its content and the end-of-turn text after it, without
  /// headers. Only messages with `learnt`.
  std::vector<TextSpan> learnt;
  /// Everything that comes from the conversation, whoever said it, ascending.
  std::vector<TextSpan> content;
  /// Turns in `learnt` behind which the template writes no end-of-turn.
  int64_t open = 0;
  /// `learnt` is what the template marks with {% generation %}.
  bool marked = false;
};

class Template {
 public:
  /// Parses Jinja source (docs/chat.md lists what is understood). Throws UserError naming line and
  /// construct of what is not.
  explicit Template(std::string source);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// Throws UserError when the template refuses the conversation (raise_exception), or names line
  /// and expression of what failed. Bounded in time and memory whatever the template says.
  Rendered render(const Conversation& conversation, const RenderOptions& options) const;
  const std::string& source() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Names of the built-in templates: "chatml", "llama2", "llama3", "mistral", "gemma", "phi3",
/// "zephyr", "qwen3", ...
std::vector<std::string> builtin_names();
/// Throws UserError listing the names when there is none of this name.
std::string builtin_source(std::string_view name);

/// The template of a model: `spec` is "" (the tokenizer's own, from its config), a built-in name,
/// or a file of Jinja source. Throws UserError saying what to pass when the tokenizer has none.
Template load_template(std::string_view spec, const Tokenizer& tokenizer);
/// Variables that templates get from a tokenizer: texts of its bos and eos tokens.
RenderOptions render_options(const Tokenizer& tokenizer);

struct ChatTokens {
  std::vector<int32_t> ids;
  std::vector<uint8_t> learnt;  // (ids): 1 where the token is to be learnt
  int64_t text_bytes = 0;
  int64_t open = 0;  // learnt turns without an end-of-turn
};
/// Renders and encodes in one piece, special tokens parsed, none added: a template writes its own
/// bos. A token is learnt when any of its bytes is in a learnt span and the token is no part of a
/// header.
ChatTokens tokenize(const Template& chat_template, const Conversation& conversation,
                    const RenderOptions& options, const Tokenizer& tokenizer);

/// Ids that end a turn: the last learnt token of a probe conversation, the tokenizer's eos, and
/// those of a generation_config.json ("" if none).
std::vector<int32_t> end_ids(const Template& chat_template, const Tokenizer& tokenizer,
                             const std::string& generation_config);

}  // namespace pivot::chat
