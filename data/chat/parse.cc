// One conversation from one JSON object, in the formats that data sets come in.
#include <algorithm>
#include <array>

#include "data/chat/conversation.h"
#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/json.h"
#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot::chat {
namespace {

using jinja::Dict;
using jinja::Kind;
using jinja::Value;

struct RoleName {
  std::string_view name, role;
};
constexpr std::array<RoleName, 7> kMessageRoles = {{{"system", "system"},
                                                    {"developer", "system"},
                                                    {"user", "user"},
                                                    {"assistant", "assistant"},
                                                    {"tool", "tool"},
                                                    {"function", "tool"},
                                                    {"ipython", "tool"}}};
constexpr std::array<RoleName, 11> kShareGptRoles = {{{"human", "user"},
                                                      {"user", "user"},
                                                      {"gpt", "assistant"},
                                                      {"assistant", "assistant"},
                                                      {"chatgpt", "assistant"},
                                                      {"bing", "assistant"},
                                                      {"model", "assistant"},
                                                      {"function_call", "assistant"},
                                                      {"system", "system"},
                                                      {"tool", "tool"},
                                                      {"observation", "tool"}}};

std::string to_json(const Value& value) {
  jinja::TextBuilder out;
  dump_json(value, {}, out);
  return out.text();
}

class Parser {
 public:
  Parser(jinja::Heap& heap, const Dict& object, const std::string& where)
      : heap_(heap), object_(object), where_(where) {}

  Conversation parse(std::string_view format) {
    if (format == "auto") format = guess();
    if (format == "messages") {
      messages(list(object_, "messages"), kMessageRoles);
    } else if (format == "sharegpt") {
      sharegpt();
    } else if (format == "alpaca") {
      alpaca();
    } else {
      prompt();
    }
    if (out_.messages.empty()) fail("has no messages");
    if (const Value* tools = object_.find("tools"); tools != nullptr && truthy(*tools)) {
      out_.tools = tools_json(*tools);
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw_user("{}: the conversation {}", where_, what);
  }

  bool has(std::string_view key) const { return object_.find(key) != nullptr; }

  std::string_view guess() const {
    if (has("chosen") && has("rejected")) {
      fail(
          "is preference data (chosen, rejected), which has two answers; write the chosen one as "
          "messages, or as prompt and completion");
    }
    if (has("messages")) return "messages";
    if (has("conversations") || has("items")) return "sharegpt";
    if (has("instruction")) return "alpaca";
    if (has("prompt") && has("completion")) return "prompt";
    fail("has none of the keys messages, conversations, instruction, prompt with completion");
  }

  const std::vector<Value>& list(const Dict& object, std::string_view key) const {
    const Value* value = object.find(key);
    if (value == nullptr) fail(fmt::format("has no '{}'", key));
    if (!value->is(Kind::List)) fail(fmt::format("has '{}' that are no list", key));
    return value->as<jinja::List>().items;
  }

  // A text, or a list of parts {"type": "text", "text": ...}.
  std::string content(const Value& value, std::string_view key) const {
    if (value.is(Kind::String)) return std::string(text_of(value));
    if (!value.is(Kind::List)) fail(fmt::format("has a '{}' that is no text", key));
    std::string all;
    for (const Value& part : value.as<jinja::List>().items) {
      const Value* text = part.is(Kind::String) ? &part : nullptr;
      if (part.is(Kind::Dict)) {
        const Value* type = part.as<Dict>().find("type");
        if (type != nullptr && type->is(Kind::String) && text_of(*type) != "text") {
          fail(fmt::format("has a part of type '{}': only text is understood", text_of(*type)));
        }
        text = part.as<Dict>().find("text");
      }
      if (text == nullptr || !text->is(Kind::String))
        fail(fmt::format("has a part of '{}' without text", key));
      all += text_of(*text);
    }
    return all;
  }

  std::string text(const Dict& object, std::string_view key) const {
    const Value* value = object.find(key);
    if (value == nullptr) fail(fmt::format("has no '{}'", key));
    return content(*value, key);
  }

  // "" where the key is missing, null or empty.
  std::string optional_text(std::string_view key) const {
    const Value* value = object_.find(key);
    return value == nullptr || value->is(Kind::None) ? "" : content(*value, key);
  }

  void add(std::string_view role, std::string content, bool learnt = true) {
    out_.messages.push_back({std::string(role), std::move(content), "", learnt});
  }

  template <size_t kCount>
  std::string_view role_of(std::string_view name, const std::array<RoleName, kCount>& roles) const {
    for (const RoleName& r : roles) {
      if (r.name == name) return r.role;
    }
    std::string known;
    for (const RoleName& r : roles) known += fmt::format("{}{}", known.empty() ? "" : ", ", r.name);
    fail(fmt::format("has the role '{}'; known are {}", name, known));
  }

  bool weight(const Dict& message) const {
    const Value* weight = message.find("weight");
    if (weight == nullptr || weight->is(Kind::None)) return true;
    const bool number = jinja::is_number(*weight) && !weight->is(Kind::Bool);
    const double w = number ? jinja::to_double(*weight) : -1;
    if (w != 0 && w != 1) fail("has a 'weight' that is neither 0 nor 1");
    return w == 1;
  }

  template <size_t kCount>
  Message message(const Value& value, const std::array<RoleName, kCount>& roles) {
    if (!value.is(Kind::Dict)) fail("has a message that is no object");
    const Dict& object = value.as<Dict>();
    Message message;
    message.role = role_of(text(object, "role"), roles);
    message.learnt = weight(object);
    Dict* extra = heap_.make<Dict>();
    const Value* found = object.find("content");
    if (found != nullptr && !found->is(Kind::None)) {
      message.content = content(*found, "content");
    } else if (object.find("tool_calls") == nullptr &&
               object.find("reasoning_content") == nullptr) {
      fail("has a message without 'content'");
    } else {
      extra->set(heap_.text("content"), jinja::none());
    }
    for (const auto& [key, v] : object.entries) {
      const std::string_view name = text_of(key);
      if (name != "role" && name != "content" && name != "weight") extra->set(key, v);
    }
    if (!extra->entries.empty()) message.extra = to_json(handle(Kind::Dict, extra));
    return message;
  }

  template <size_t kCount>
  void messages(const std::vector<Value>& list, const std::array<RoleName, kCount>& roles) {
    for (const Value& value : list) out_.messages.push_back(message(value, roles));
  }

  void sharegpt() {
    const std::vector<Value>& turns =
        list(object_, has("conversations") ? "conversations" : "items");
    if (std::string system = optional_text("system"); !system.empty()) add("system", system);
    for (const Value& turn : turns) {
      if (!turn.is(Kind::Dict)) fail("has a turn that is no object");
      const Dict& object = turn.as<Dict>();
      Message m;
      if (object.find("from") == nullptr && object.find("role") != nullptr) {
        m = message(turn, kShareGptRoles);
      } else {
        m.role = role_of(text(object, "from"), kShareGptRoles);
        m.content = text(object, "value");
        m.learnt = weight(object);
      }
      // Some files begin in the middle, with an answer to nothing.
      const bool opens = out_.messages.empty() || out_.messages.back().role == "system";
      if (!opens || m.role != "assistant") out_.messages.push_back(std::move(m));
    }
  }

  void alpaca() {
    if (std::string system = optional_text("system"); !system.empty()) add("system", system);
    if (const Value* history = object_.find("history"); history != nullptr && truthy(*history)) {
      for (const Value& pair : list(object_, "history")) {
        if (!pair.is(Kind::List) || pair.as<jinja::List>().items.size() != 2) {
          fail("has a 'history' that is no list of pairs");
        }
        add("user", content(pair.as<jinja::List>().items[0], "history"));
        add("assistant", content(pair.as<jinja::List>().items[1], "history"));
      }
    }
    std::string question = text(object_, "instruction");
    if (const std::string input = optional_text("input"); !input.empty()) {
      question += (question.empty() ? "" : "\n\n") + input;
    }
    add("user", std::move(question));
    add("assistant", text(object_, "output"));
  }

  // Texts, or lists of messages of which only the completion's are learnt.
  void prompt() {
    const Value* prompt = object_.find("prompt");
    if (prompt == nullptr || !prompt->is(Kind::List)) {
      add("user", text(object_, "prompt"));
      add("assistant", text(object_, "completion"));
      return;
    }
    messages(list(object_, "prompt"), kMessageRoles);
    for (Message& m : out_.messages) m.learnt = false;
    messages(list(object_, "completion"), kMessageRoles);
  }

  // A list, also one written as a text of JSON.
  std::string tools_json(const Value& tools) {
    if (tools.is(Kind::List)) return to_json(tools);
    if (tools.is(Kind::String)) {
      const Value parsed = jinja::parse_json(heap_, text_of(tools));
      if (parsed.is(Kind::List)) return to_json(parsed);
    }
    fail("has 'tools' that are no list");
  }

  jinja::Heap& heap_;
  const Dict& object_;
  const std::string& where_;
  Conversation out_;
};

}  // namespace

void require_format(std::string_view format) {
  for (const std::string_view known : {"auto", "messages", "sharegpt", "alpaca", "prompt"}) {
    if (format == known) return;
  }
  throw_user("format '{}' is not known: auto, messages, sharegpt, alpaca or prompt", format);
}

Conversation parse_conversation(std::string_view json, std::string_view format,
                                const std::string& where) {
  require_format(format);
  if (const size_t bad = find_invalid_utf8(json); bad != std::string_view::npos) {
    throw_user("{}: invalid UTF-8 at byte {}", where, bad);
  }
  jinja::Heap heap(INT64_MAX);  // the line bounds it
  try {
    const Value object = jinja::parse_json(heap, json);
    if (!object.is(Kind::Dict))
      throw_user("{}: no JSON object, but a {}", where, type_name(object));
    return Parser(heap, object.as<Dict>(), where).parse(format);
  } catch (const jinja::Failure& failure) {
    throw_user("{}: {}", where, failure.what());
  }
}

}  // namespace pivot::chat
