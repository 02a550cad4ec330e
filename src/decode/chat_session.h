#pragma once
/// A conversation with a model: messages, their text by the model's template, answers.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/chat/template.h"
#include "src/decode/generate.h"
#include "src/decode/session.h"
#include "src/decode/turn_end.h"

namespace pivot {

/// What happens when the conversation and its answer do not fit the context.
enum class WhenFull { Refuse, DropOldest };

struct ChatSettings {
  SamplerOptions sampler;
  int64_t max_tokens = 512;            // of an answer
  std::vector<std::string> stop = {};  // texts that end an answer, besides the template's
  WhenFull when_full = WhenFull::Refuse;
};

struct ChatTurn {
  Generation answer;
  GenerateTiming timing;
  int64_t used = 0;       // tokens of the conversation, this answer included
  double kept_mass = 1;   // mean of this answer's steps
  int64_t forgotten = 0;  // messages that DropOldest took away

  /// Interrupted before the first token: the conversation is what it was.
  bool unanswered() const { return answer.finish == Finish::Interrupted && answer.ids.empty(); }
};

class ChatSession {
 public:
  /// `session` must outlive this and have room for one sequence.
  ChatSession(Session& session, chat::Template chat_template);

  /// The user's next message, answered. When it throws, the conversation is what it was. UserError
  /// when the context is full (and what to do then), when the template refuses the conversation,
  /// and as generate().
  ChatTurn say(const std::string& text, const ChatSettings& settings, const OnText& on_text);
  /// Answers the last message of the user again, in place of the answer it has.
  ChatTurn answer_again(const ChatSettings& settings, const OnText& on_text);
  /// Takes back the last message of the user and what came after it. UserError if there is none.
  void undo();
  void reset() { conversation_.messages.clear(); }
  /// Takes away the oldest message of the user and what came before the next one; returns the
  /// number of messages. The last message of the user always stays.
  int64_t forget_oldest();

  /// "" for none.
  void set_system(const std::string& text) { system_ = text; }
  const std::string& system() const { return system_; }
  void set_template(chat::Template chat_template);
  const chat::Template& chat_template() const { return template_; }
  /// The model's attention from now on; as Session::set_attention.
  void set_attention(const std::string& attn, const std::string& prefill);
  /// Variables of the template as a JSON object ("enable_thinking"); "" for none.
  void set_variables(const std::string& json) { render_.extra = json; }

  /// Users' and assistant's messages; the system's is apart.
  const std::vector<chat::Message>& messages() const { return conversation_.messages; }
  /// As one line of JSON: {"messages": [{"role", "content"}, ...]}, the system's first.
  std::string to_json() const;
  /// Takes over a conversation. UserError if it has other roles than system (first), user and
  /// assistant.
  void take_over(const chat::Conversation& conversation);

  /// The text that the next answer continues.
  std::string rendered() const;
  /// Its length in tokens.
  int64_t tokens() const;
  int64_t context() const { return session_.engine().max_context(); }

 private:
  chat::Conversation complete() const;
  std::vector<int32_t> prompt_ids() const;
  std::vector<int32_t> fitting_prompt(const ChatSettings& settings, int64_t& forgotten);
  ChatTurn answer(std::vector<chat::Message> before, const ChatSettings& settings,
                  const OnText& on_text);

  Session& session_;
  chat::Template template_;
  TurnEnd end_;
  chat::RenderOptions render_;
  std::string system_;
  chat::Conversation conversation_;  // without the system's message
  std::optional<PromptCache> cache_;
};

}  // namespace pivot
