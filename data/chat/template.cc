#include "data/chat/template.h"

#include <algorithm>
#include <array>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/json.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/learnt.h"
#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot::chat {
namespace {

using jinja::Dict;
using jinja::Heap;
using jinja::Kind;
using jinja::Value;

// What an assistant's message says besides its content; other keys (name, tool_call_id) are about
// it.
constexpr std::array<std::string_view, 7> kSaid = {
    "content", "reasoning_content", "reasoning",    "thinking",
    "refusal", "tool_calls",        "function_call"};

// Units of work (jinja/value.h) for any conversation, for a message and for a byte of it: twenty
// times what the largest template seen (16 KB, gpt-oss) takes.
constexpr int64_t kBaseWork = 20'000'000;
constexpr int64_t kMessageWork = 20'000;
constexpr int64_t kByteWork = 64;

// A value just parsed is said by message `owner`.
void set_owner(Value& value, int32_t owner) {
  switch (value.kind) {
    case Kind::String: {
      auto& s = value.as<jinja::String>();
      s.runs = {{static_cast<uint32_t>(s.text.size()), owner, 0}};
      break;
    }
    case Kind::List:
      for (Value& item : value.as<jinja::List>().items) set_owner(item, owner);
      break;
    case Kind::Dict:
      for (auto& [key, item] : value.as<Dict>().entries) {
        set_owner(key, owner);
        set_owner(item, owner);
      }
      break;
    default:
      value.owner = owner;
  }
}

Value parse_part(Heap& heap, std::string_view json, std::string_view what, int32_t owner) {
  try {
    return jinja::parse_json(heap, json, owner);
  } catch (const jinja::Failure& failure) {
    throw_user("{}: {}", what, failure.what());
  }
}

// As transformers names them: reasoning under any of its names is there as `reasoning_content` and
// `thinking`.
void alias_reasoning(Heap& heap, Dict& message) {
  const Value* reasoning = nullptr;
  for (const std::string_view name : {"reasoning_content", "thinking", "reasoning"}) {
    if (reasoning == nullptr) reasoning = message.find(name);
  }
  if (reasoning == nullptr) return;
  const Value value = *reasoning;
  if (message.find("thinking") == nullptr) message.set(heap.text("thinking"), value);
  message.set(heap.text("reasoning_content"), value);
}

Value message_value(Heap& heap, const Message& message, int32_t index) {
  const int32_t owner = message.role == "assistant" ? index : jinja::kOutside;
  Dict* dict = heap.make<Dict>();
  dict->message = index;
  dict->set(heap.text("role"), heap.text(message.role));
  Value extra;
  if (!message.extra.empty()) {
    extra = parse_part(heap, message.extra, "a message's other keys", jinja::kOutside);
    if (!extra.is(Kind::Dict)) throw_user("a message's other keys are no JSON object");
  }
  if (!extra.is(Kind::Dict) || extra.as<Dict>().find("content") == nullptr) {
    dict->set(heap.text("content"), heap.text(message.content, owner));
  }
  if (extra.is(Kind::Dict)) {
    for (auto& [key, value] : extra.as<Dict>().entries) {
      const std::string_view name = text_of(key);
      if (value.is(Kind::None) || name == "role") continue;
      if (std::find(kSaid.begin(), kSaid.end(), name) != kSaid.end()) set_owner(value, owner);
      dict->set(key, value);
    }
  }
  alias_reasoning(heap, *dict);
  return handle(Kind::Dict, dict);
}

using Variables = std::vector<std::pair<std::string, Value>>;

Variables variables_of(Heap& heap, const Conversation& conversation, const RenderOptions& options) {
  Variables variables;
  const auto set = [&](std::string_view name, const Value& value) {
    const auto known = std::find_if(variables.begin(), variables.end(),
                                    [name](const auto& v) { return v.first == name; });
    if (known != variables.end()) {
      known->second = value;
    } else {
      variables.emplace_back(name, value);
    }
  };
  set("documents", jinja::none());
  for (const auto& [name, text] : options.tokens) set(name, heap.text(text));
  if (!options.bos_token.empty()) set("bos_token", heap.text(options.bos_token));
  if (!options.eos_token.empty()) set("eos_token", heap.text(options.eos_token));
  if (!options.extra.empty()) {
    const Value extra =
        parse_part(heap, options.extra, "the template's variables", jinja::kTemplate);
    if (!extra.is(Kind::Dict)) throw_user("the template's variables are no JSON object");
    for (const auto& [key, value] : extra.as<Dict>().entries) set(text_of(key), value);
  }
  std::vector<Value> messages;
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    messages.push_back(message_value(heap, conversation.messages[i], static_cast<int32_t>(i)));
  }
  set("messages", heap.list(std::move(messages)));
  set("tools", conversation.tools.empty()
                   ? jinja::none()
                   : parse_part(heap, conversation.tools, "tools", jinja::kOutside));
  set("add_generation_prompt", jinja::boolean(options.add_generation_prompt));
  return variables;
}

int64_t work_of(const Conversation& conversation, const RenderOptions& options) {
  size_t bytes = conversation.tools.size() + options.extra.size();
  for (const Message& m : conversation.messages) bytes += m.content.size() + m.extra.size();
  return kBaseWork + kMessageWork * static_cast<int64_t>(conversation.messages.size()) +
         kByteWork * static_cast<int64_t>(bytes);
}

void require_utf8(const Conversation& conversation) {
  for (const Message& m : conversation.messages) {
    if (find_invalid_utf8(m.content) != std::string::npos ||
        find_invalid_utf8(m.role) != std::string::npos) {
      throw_user("a message is not valid UTF-8");
    }
  }
}

}  // namespace

struct Template::State {
  std::string source;
  jinja::Program program;
};

Template::Template(std::string source) : state_(std::make_unique<State>()) {
  state_->program = jinja::parse(source);
  state_->source = std::move(source);
}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

const std::string& Template::source() const {
  return state_->source;
}

Rendered Template::render(const Conversation& conversation, const RenderOptions& options) const {
  require_utf8(conversation);
  Heap heap(work_of(conversation, options));
  Rendered rendered;
  try {
    Variables variables = variables_of(heap, conversation, options);
    jinja::Renderer renderer(state_->program, heap, options.now);
    const jinja::Output output = renderer.run(std::move(variables));
    rendered.marked = state_->program.has_generation;
    if (!heap.lost.empty() && !rendered.marked && !options.add_generation_prompt) {
      throw_user(
          "the chat template makes something else of what the assistant said ({}), so nothing "
          "tells what is to be learnt: mark the assistant's text in it with {{% generation %}} "
          "and {{% endgeneration %}}",
          heap.lost);
    }
    find_spans(output, conversation, options, rendered.marked, rendered);
    rendered.text = output.text.text();
  } catch (const jinja::Failure& failure) {
    throw_user("chat template: {}", failure.what());
  }
  return rendered;
}

}  // namespace pivot::chat
