// One conversation from one JSON object, in the formats that data sets come in.
#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "data/chat/conversation.h"
#include "src/base/check.h"

namespace pivot::chat {
namespace {

using Json = nlohmann::ordered_json;

class Parser {
 public:
  Parser(const Json& object, const std::string& where) : j_(object), where_(where) {}

  Conversation parse(std::string_view format) {
    if (!j_.is_object()) fail("is no JSON object");
    if (format == "auto") format = guess();
    if (format == "messages") {
      messages();
    } else if (format == "sharegpt") {
      sharegpt();
    } else if (format == "alpaca") {
      alpaca();
    } else if (format == "prompt") {
      add("user", text(j_, "prompt"));
      add("assistant", text(j_, "completion"));
    } else {
      throw_user("format '{}' is not known: auto, messages, sharegpt, alpaca or prompt", format);
    }
    if (out_.messages.empty()) fail("has no messages");
    if (j_.contains("tools") && !j_["tools"].is_null()) {
      out_.tools = j_["tools"].is_string() ? j_["tools"].get<std::string>() : j_["tools"].dump();
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw_user("{}: the conversation {}", where_, what);
  }

  std::string_view guess() const {
    if (j_.contains("messages")) return "messages";
    if (j_.contains("conversations") || j_.contains("items")) return "sharegpt";
    if (j_.contains("chosen") && j_.contains("rejected")) {
      fail(
          "is preference data (chosen, rejected): supervised fine-tuning needs one answer; make it "
          "prompt and "
          "completion of the chosen one");
    }
    if (j_.contains("instruction")) return "alpaca";
    if (j_.contains("prompt") && j_.contains("completion")) return "prompt";
    fail("has none of the keys messages, conversations, instruction, prompt and completion");
  }

  std::string text(const Json& object, const char* key) const {
    const auto it = object.find(key);
    if (it == object.end()) fail(fmt::format("has no '{}'", key));
    return content(*it, key);
  }

  // A text, null, or a list of parts {"type": "text", "text": ...}.
  std::string content(const Json& value, const char* key) const {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_null()) return "";
    if (!value.is_array()) fail(fmt::format("has a '{}' that is no text", key));
    std::string all;
    for (const Json& part : value) {
      if (part.is_string()) {
        all += part.get<std::string>();
      } else if (part.is_object() && part.value("type", "") == "text" && part.contains("text") &&
                 part["text"].is_string()) {
        all += part["text"].get<std::string>();
      } else {
        fail("has a part that is no text (an image?): only texts are understood");
      }
    }
    return all;
  }

  void add(std::string role, std::string content) {
    out_.messages.push_back({std::move(role), std::move(content), "", true});
  }

  void messages() {
    const Json& list = j_["messages"];
    if (!list.is_array()) fail("has 'messages' that are no list");
    for (const Json& m : list) {
      if (!m.is_object()) fail("has a message that is no object");
      Message message;
      message.role = role_of(text(m, "role"));
      if (m.contains("content")) {
        message.content = content(m["content"], "content");
      } else if (!m.contains("tool_calls")) {
        fail("has a message without 'content'");
      }
      if (const auto weight = m.find("weight"); weight != m.end()) {
        if (!weight->is_number() || (*weight != 0 && *weight != 1))
          fail("has a 'weight' that is neither 0 nor 1");
        message.learnt = *weight != 0;
      }
      Json extra = Json::object();
      for (const auto& [key, value] : m.items()) {
        if (key != "role" && key != "content" && key != "weight") extra[key] = value;
      }
      if (!extra.empty()) message.extra = extra.dump();
      out_.messages.push_back(std::move(message));
    }
  }

  std::string role_of(const std::string& name) const {
    if (name == "developer") return "system";
    for (const char* const role : {"system", "user", "assistant", "tool"}) {
      if (name == role) return name;
    }
    fail(fmt::format("has the role '{}': system, user, assistant and tool are understood", name));
  }

  void sharegpt() {
    static constexpr std::array<std::array<const char*, 2>, 10> kRoles = {
        {{"human", "user"},
         {"user", "user"},
         {"gpt", "assistant"},
         {"assistant", "assistant"},
         {"chatgpt", "assistant"},
         {"bing", "assistant"},
         {"system", "system"},
         {"tool", "tool"},
         {"observation", "tool"},
         {"function_call", "assistant"}}};
    const Json& list = j_.contains("conversations") ? j_["conversations"] : j_["items"];
    if (!list.is_array()) fail("has turns that are no list");
    if (j_.contains("system") && j_["system"].is_string() &&
        !j_["system"].get<std::string>().empty()) {
      add("system", j_["system"]);
    }
    for (const Json& turn : list) {
      if (!turn.is_object()) fail("has a turn that is no object");
      const std::string from = text(turn, "from");
      const auto* const role =
          std::find_if(kRoles.begin(), kRoles.end(), [&](const auto& r) { return from == r[0]; });
      if (role == kRoles.end())
        fail(fmt::format("has a turn from '{}'; known are human, gpt, system and tool", from));
      // Some files begin in the middle, with an answer to nothing.
      const bool opens = out_.messages.empty() || out_.messages.back().role == "system";
      if (opens && std::string_view((*role)[1]) == "assistant") continue;
      add((*role)[1], text(turn, "value"));
    }
  }

  void alpaca() {
    if (j_.contains("system") && j_["system"].is_string() &&
        !j_["system"].get<std::string>().empty()) {
      add("system", j_["system"]);
    }
    if (j_.contains("history") && j_["history"].is_array()) {
      for (const Json& pair : j_["history"]) {
        if (!pair.is_array() || pair.size() != 2) fail("has a 'history' that is no list of pairs");
        add("user", content(pair[0], "history"));
        add("assistant", content(pair[1], "history"));
      }
    }
    std::string question = text(j_, "instruction");
    if (j_.contains("input") && j_["input"].is_string() &&
        !j_["input"].get<std::string>().empty()) {
      question += "\n\n" + j_["input"].get<std::string>();
    }
    add("user", std::move(question));
    add("assistant", text(j_, "output"));
  }

  const Json& j_;
  const std::string& where_;
  Conversation out_;
};

}  // namespace

Conversation parse_conversation(std::string_view json, std::string_view format,
                                const std::string& where) {
  Json object;
  try {
    object = Json::parse(json);
  } catch (const Json::exception&) {
    throw_user("{}: not JSON", where);
  }
  return Parser(object, where).parse(format);
}

}  // namespace pivot::chat
