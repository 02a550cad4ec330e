#include "src/decode/chat_session.h"

#include <algorithm>
#include <ctime>
#include <numeric>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

bool is_user(const chat::Message& message) {
  return message.role == "user";
}

chat::Message message_of(const char* role, const std::string& content) {
  return {.role = role, .content = content, .extra = ""};
}

}  // namespace

ChatSession::ChatSession(Session& session, chat::Template chat_template)
    : session_(session),
      template_(std::move(chat_template)),
      end_(turn_end(template_, session.tokenizer(), session.model().info())),
      render_(chat::render_options(session.tokenizer())),
      cache_(std::in_place, session.engine()) {
  render_.add_generation_prompt = true;
  // A conversation takes place today; templates that say so ask for the date.
  render_.now = std::time(nullptr);
}

void ChatSession::set_template(chat::Template chat_template) {
  end_ = turn_end(chat_template, session_.tokenizer(), session_.model().info());
  template_ = std::move(chat_template);
}

void ChatSession::set_attention(const std::string& attn, const std::string& prefill) {
  cache_.reset();  // it belongs to the engine that goes
  try {
    session_.set_attention(attn, prefill);
  } catch (...) {
    cache_.emplace(session_.engine());
    throw;
  }
  cache_.emplace(session_.engine());
}

chat::Conversation ChatSession::complete() const {
  chat::Conversation all = conversation_;
  if (!system_.empty()) all.messages.insert(all.messages.begin(), message_of("system", system_));
  return all;
}

std::string ChatSession::rendered() const {
  return template_.render(complete(), render_).text;
}

std::vector<int32_t> ChatSession::prompt_ids() const {
  return chat::tokenize(template_, complete(), render_, session_.tokenizer()).ids;
}

int64_t ChatSession::tokens() const {
  return static_cast<int64_t>(prompt_ids().size());
}

int64_t ChatSession::forget_oldest() {
  std::vector<chat::Message>& messages = conversation_.messages;
  const auto first = std::find_if(messages.begin(), messages.end(), is_user);
  if (first == messages.end()) return 0;
  const auto next = std::find_if(first + 1, messages.end(), is_user);
  if (next == messages.end()) return 0;
  const int64_t count = next - messages.begin();
  messages.erase(messages.begin(), next);
  return count;
}

// The prompt, with room for an answer behind it.
std::vector<int32_t> ChatSession::fitting_prompt(const ChatSettings& settings, int64_t& forgotten) {
  std::vector<int32_t> ids = prompt_ids();
  if (settings.when_full == WhenFull::DropOldest) {
    // Half of the context at most is kept free: what was said matters more than long answers.
    const int64_t room = std::min(settings.max_tokens, context() / 2);
    while (static_cast<int64_t>(ids.size()) + room > context()) {
      const int64_t count = forget_oldest();
      if (count == 0) break;
      forgotten += count;
      ids = prompt_ids();
    }
  }
  if (static_cast<int64_t>(ids.size()) >= context()) {
    throw_user(
        "the context is full: the conversation has {} tokens with this message, the context holds "
        "{}; /drop-oldest forgets the oldest turn, /undo the last one, /reset all, and "
        "--drop-oldest makes room by itself",
        ids.size(), context());
  }
  return ids;
}

// Answers the last message. When it throws, or is interrupted before the answer begins, the
// conversation is `before` again.
ChatTurn ChatSession::answer(std::vector<chat::Message> before, const ChatSettings& settings,
                             const OnText& on_text) {
  ChatTurn turn;
  try {
    const std::vector<int32_t> prompt = fitting_prompt(settings, turn.forgotten);
    GenerateOptions options{.sampler = settings.sampler,
                            .max_tokens = settings.max_tokens,
                            .samples = 1,
                            .stop = settings.stop,
                            .end_ids = end_.ids};
    options.stop.insert(options.stop.end(), end_.texts.begin(), end_.texts.end());
    Engine& engine = session_.engine();
    engine.restart_kept_mass();
    GenerateResult result =
        generate(engine, *cache_, session_.tokenizer(), prompt, options, on_text);
    turn.answer = std::move(result.samples[0]);
    turn.timing = result.timing;
    turn.used = static_cast<int64_t>(prompt.size() + turn.answer.ids.size());
    turn.kept_mass = session_.kept_mass();
  } catch (...) {
    conversation_.messages = std::move(before);
    throw;
  }
  if (turn.unanswered()) {
    conversation_.messages = std::move(before);
  } else {
    conversation_.messages.push_back(message_of("assistant", turn.answer.text));
  }
  return turn;
}

ChatTurn ChatSession::say(const std::string& text, const ChatSettings& settings,
                          const OnText& on_text) {
  std::vector<chat::Message> before = conversation_.messages;
  conversation_.messages.push_back(message_of("user", text));
  return answer(std::move(before), settings, on_text);
}

ChatTurn ChatSession::answer_again(const ChatSettings& settings, const OnText& on_text) {
  std::vector<chat::Message> before = conversation_.messages;
  const auto last = std::find_if(before.rbegin(), before.rend(), is_user);
  if (last == before.rend()) throw_user("there is nothing to answer yet");
  conversation_.messages.resize(static_cast<size_t>(before.rend() - last));
  return answer(std::move(before), settings, on_text);
}

void ChatSession::undo() {
  std::vector<chat::Message>& messages = conversation_.messages;
  const auto last = std::find_if(messages.rbegin(), messages.rend(), is_user);
  if (last == messages.rend()) throw_user("there is nothing to take back");
  messages.resize(static_cast<size_t>(messages.rend() - last) - 1);
}

std::string ChatSession::to_json() const {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  for (const chat::Message& m : complete().messages) {
    messages.push_back({{"role", m.role}, {"content", m.content}});
  }
  return nlohmann::ordered_json{{"messages", messages}}.dump(
      -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void ChatSession::take_over(const chat::Conversation& conversation) {
  std::vector<chat::Message> messages = conversation.messages;
  std::string system;
  if (!messages.empty() && messages.front().role == "system") {
    system = messages.front().content;
    messages.erase(messages.begin());
  }
  for (const chat::Message& m : messages) {
    if (is_user(m) || m.role == "assistant") continue;
    throw_user(
        "{}:{}: a message of role '{}': chat takes user and assistant, and one system "
        "message in front",
        conversation.file, conversation.line, m.role);
  }
  conversation_.messages = std::move(messages);
  system_ = std::move(system);
}

}  // namespace pivot
