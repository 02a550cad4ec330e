#include "data/chat/template.h"

#include <algorithm>
#include <filesystem>

#include "data/chat/jinja/eval.h"
#include "data/chat/token_names.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot::chat {

using jinja::Dict;
using jinja::List;
using jinja::Origin;
using jinja::Text;
using jinja::Value;

struct Template::State {
  std::string source;
  jinja::Body body;
};

Template::Template(std::string source) : state_(std::make_unique<State>()) {
  state_->body = jinja::parse_template(source);
  state_->source = std::move(source);
}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

const std::string& Template::source() const {
  return state_->source;
}

namespace {

bool is_assistant(const Message& m) {
  return m.role == "assistant";
}

// All texts inside `value` are the message's.
Value owned(const Value& value, int message) {
  if (const Text* t = value.as_text()) return Value::text(Text::of_message(t->bytes, message));
  if (const List* l = value.as_list()) {
    List out;
    for (const Value& v : *l) out.push_back(owned(v, message));
    return Value::list(std::move(out));
  }
  if (const Dict* d = value.as_dict()) {
    Dict out;
    for (const auto& [k, v] : d->items) out.set(k, owned(v, message));
    return Value::dict(std::move(out));
  }
  return value;
}

Value message_value(const Message& m, int index) {
  Dict d;
  d.set("role", Value::text(Text(m.role)));
  d.set("content", Value::text(Text::of_message(m.content, index)));
  if (!m.extra.empty()) {
    const Value extra = jinja::from_json(m.extra, "a message's other keys");
    if (const Dict* keys = extra.as_dict()) {
      for (const auto& [k, v] : keys->items) {
        if (k != "role" && !(k == "content" && !v.is_none())) d.set(k, owned(v, index));
      }
    }
  }
  return Value::dict(std::move(d));
}

Dict variables_of(const Conversation& conversation, const RenderOptions& options) {
  Dict v;
  if (!options.extra.empty()) {
    const Value extra = jinja::from_json(options.extra, "the template's variables");
    if (const Dict* keys = extra.as_dict()) v = *keys;
  }
  List messages;
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    messages.push_back(message_value(conversation.messages[i], static_cast<int>(i)));
  }
  v.set("messages", Value::list(std::move(messages)));
  v.set("tools",
        conversation.tools.empty() ? Value::none() : jinja::from_json(conversation.tools, "tools"));
  if (v.find("documents") == nullptr) v.set("documents", Value::none());
  v.set("add_generation_prompt", Value::boolean(options.add_generation_prompt));
  if (!options.bos_token.empty()) v.set("bos_token", Value::text(Text(options.bos_token)));
  if (!options.eos_token.empty()) v.set("eos_token", Value::text(Text(options.eos_token)));
  return v;
}

// The end-of-turn mark that follows a message's content at `at`: the text up to and including it,
// or nothing. Spaces may come before it, line ends only where it is the model's own eos.
int64_t end_of_turn(std::string_view text, size_t at, size_t limit, const std::string& eos) {
  const std::string_view rest = text.substr(at, limit - at);
  const size_t word = std::min(rest.find_first_not_of(" \n\t\r"), rest.size());
  const std::string_view mark = rest.substr(word);
  if (!eos.empty() && mark.substr(0, eos.size()) == eos)
    return static_cast<int64_t>(at + word + eos.size());
  const bool spaces_only = rest.substr(0, word).find_first_not_of(' ') == std::string_view::npos;
  const size_t length = special_token_at(mark);
  return static_cast<int64_t>(spaces_only && length > 0 ? at + word + length : at);
}

struct Turn {
  int message = -1;
  size_t begin = 0, end = 0;
};

// From a message's first byte in the text to its last; what the template wrote in between is of the
// turn, too.
std::vector<Turn> turns_of(const Text& text) {
  std::vector<Turn> turns;
  for (const Origin& o : text.origins) {
    if (!turns.empty() && turns.back().message == o.message) {
      turns.back().end = o.end;
    } else {
      turns.push_back({o.message, o.begin, o.end});
    }
  }
  return turns;
}

std::vector<TextSpan> merged(std::vector<TextSpan> spans) {
  std::sort(spans.begin(), spans.end(),
            [](const TextSpan& a, const TextSpan& b) { return a.begin < b.begin; });
  std::vector<TextSpan> out;
  for (const TextSpan& s : spans) {
    if (s.end <= s.begin) continue;
    if (!out.empty() && s.begin <= out.back().end) {
      out.back().end = std::max(out.back().end, s.end);
    } else {
      out.push_back(s);
    }
  }
  return out;
}

std::vector<TextSpan> learnt_spans(const jinja::Output& out, const Conversation& c,
                                   const RenderOptions& options) {
  const auto learnt = [&](int message) {
    const Message& m = c.messages[static_cast<size_t>(message)];
    return is_assistant(m) && m.learnt;
  };
  std::vector<TextSpan> spans;
  const std::vector<Turn> turns = turns_of(out.text);
  if (!out.generation.empty()) {
    for (const jinja::Range& r : out.generation) {
      const bool refused = std::any_of(turns.begin(), turns.end(), [&](const Turn& t) {
        return t.begin < r.end && t.end > r.begin && !learnt(t.message);
      });
      if (!refused) spans.push_back({static_cast<int64_t>(r.begin), static_cast<int64_t>(r.end)});
    }
    return merged(std::move(spans));
  }
  if (out.text.lost >= 0 && learnt(out.text.lost)) {
    throw_user(
        "the chat template changes what the assistant said beyond recognition, so nothing tells "
        "what to learn: mark "
        "the assistant's text in it with {{% generation %}} and {{% endgeneration %}}");
  }
  for (size_t i = 0; i < turns.size(); ++i) {
    if (!learnt(turns[i].message)) continue;
    const size_t limit = i + 1 < turns.size() ? turns[i + 1].begin : out.text.bytes.size();
    spans.push_back({static_cast<int64_t>(turns[i].begin),
                     end_of_turn(out.text.bytes, turns[i].end, limit, options.eos_token)});
  }
  return merged(std::move(spans));
}

}  // namespace

Rendered Template::render(const Conversation& conversation, const RenderOptions& options) const {
  jinja::Output out =
      jinja::run_template(state_->body, variables_of(conversation, options), options.now);
  Rendered r;
  r.learnt = learnt_spans(out, conversation, options);
  r.text = std::move(out.text.bytes);
  return r;
}

}  // namespace pivot::chat
