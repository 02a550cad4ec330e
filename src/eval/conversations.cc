#include "src/eval/conversations.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "data/text_source.h"
#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot::eval {
namespace {

using nlohmann::json;

// Calls `take(line, number)` for every line of a file that is not blank.
template <class Take>
void for_each_line(const std::string& path, const Take& take) {
  const auto source = open_byte_source(path);
  std::string buffer, line;
  std::vector<char> bytes(size_t{1} << 16);
  int64_t number = 0;
  const auto give = [&](std::string_view text) {
    ++number;
    if (text.find_first_not_of(" \t\r") != std::string_view::npos) take(text, number);
  };
  while (const size_t count = source->read(bytes)) {
    buffer.append(bytes.data(), count);
    size_t begin = 0;
    for (size_t end; (end = buffer.find('\n', begin)) != std::string::npos; begin = end + 1) {
      give(std::string_view(buffer).substr(begin, end - begin));
    }
    buffer.erase(0, begin);
  }
  if (!buffer.empty()) give(buffer);
}

// What a line says beside its conversation.
struct Extras {
  std::vector<std::string> answers;  // empty: the last message is the answer
  std::string cluster;
};

Extras read_extras(std::string_view text, const std::string& where) {
  Extras out;
  const json line = json::parse(text, nullptr, false);
  if (line.is_discarded() || !line.is_object()) throw_user("{}: no JSON object", where);
  if (const auto cluster = line.find("cluster"); cluster != line.end()) {
    if (!cluster->is_string() && !cluster->is_number()) {
      throw_user("{}: \"cluster\" is neither a text nor a number", where);
    }
    out.cluster = cluster->is_string() ? cluster->get<std::string>() : cluster->dump();
  }
  const auto answers = line.find("answers");
  if (answers == line.end()) return out;
  if (!answers->is_array() || answers->empty()) {
    throw_user("{}: \"answers\" is no list of texts with at least one", where);
  }
  for (const json& answer : *answers) {
    if (!answer.is_string()) throw_user("{}: \"answers\" holds something else than texts", where);
    out.answers.push_back(answer.get<std::string>());
  }
  return out;
}

Question make_question(chat::Conversation conversation, Extras extras, const ChatFormat& format,
                       const std::string& where) {
  std::vector<chat::Message>& messages = conversation.messages;
  if (extras.answers.empty()) {
    if (messages.empty() || messages.back().role != "assistant") {
      throw_user("{}: the last message is not the assistant's and there is no key \"answers\"",
                 where);
    }
    extras.answers.push_back(messages.back().content);
    messages.pop_back();
  }
  if (messages.empty() || messages.back().role != "user") {
    throw_user("{}: the last message before the answer is not the user's", where);
  }
  chat::RenderOptions options = chat::render_options(*format.tokenizer);
  options.add_generation_prompt = true;
  Question question;
  question.prompt =
      chat::tokenize(format.chat_template, conversation, options, *format.tokenizer).ids;
  if (question.prompt.empty()) throw_user("{}: the template makes nothing of it", where);
  question.answers = std::move(extras.answers);
  question.cluster = std::move(extras.cluster);
  return question;
}

bool is_empty_answer(const Question& question) {
  for (const std::string& answer : question.answers) {
    if (normalise_answer(answer).empty()) return true;
  }
  return false;
}

class Dialogues : public Corpus {
 public:
  Dialogues(const std::string& path, const ChatFormat& format)
      : tokenizer_hash_(format.tokenizer->hash()), vocab_(format.tokenizer->vocab()) {
    chat::ReaderOptions options;
    options.input = {path};
    chat::ConversationReader reader(options);
    chat::Conversation conversation;
    const chat::RenderOptions render = chat::render_options(*format.tokenizer);
    while (reader.next(conversation)) {
      items_.push_back(
          make_item(chat::tokenize(format.chat_template, conversation, render, *format.tokenizer),
                    *format.tokenizer));
    }
    if (items_.empty()) throw_user("{}: no conversation in it", path);
  }

  int64_t size() const override { return static_cast<int64_t>(items_.size()); }
  Item item(int64_t index) const override { return items_[static_cast<size_t>(index)]; }
  std::string tokenizer_hash() const override { return tokenizer_hash_; }
  int64_t vocab() const override { return vocab_; }
  bool masked() const override { return true; }

 private:
  Item make_item(chat::ChatTokens tokens, const Tokenizer& tokenizer) const {
    EvalDocument document;
    document.id = size();
    document.tokens = std::move(tokens.ids);
    document.targets.assign(document.tokens.size(), kNoTarget);
    Item out;
    bool asked = false;
    for (size_t t = 0; t + 1 < document.tokens.size(); ++t) {
      if (tokens.learnt[t + 1] == 0) continue;
      asked = true;
      document.targets[t] = document.tokens[t + 1];
      out.bytes += tokenizer.token_bytes(document.tokens[t + 1]);
    }
    if (asked) out.documents.push_back(std::move(document));
    return out;
  }

  std::string tokenizer_hash_;
  int64_t vocab_;
  std::vector<Item> items_;
};

}  // namespace

std::vector<Question> read_questions(const std::string& path, const ChatFormat& format) {
  std::vector<Question> questions;
  int64_t empty = 0;
  for_each_line(path, [&](std::string_view text, int64_t number) {
    const std::string where = fmt::format("{}:{}", path, number);
    Extras extras = read_extras(text, where);
    questions.push_back(make_question(chat::parse_conversation(text, "auto", where),
                                      std::move(extras), format, where));
    questions.back().id = static_cast<int64_t>(questions.size()) - 1;
    empty += is_empty_answer(questions.back()) ? 1 : 0;
  });
  if (questions.empty()) throw_user("{}: no question in it", path);
  if (empty > 0) {
    log::warning(
        "{}: nothing is left of an answer to {} questions when punctuation and articles go: "
        "their substring match is always right",
        path, empty);
  }
  return questions;
}

std::unique_ptr<Corpus> open_dialogues(const std::string& path, const ChatFormat& format) {
  return std::make_unique<Dialogues>(path, format);
}

}  // namespace pivot::eval
