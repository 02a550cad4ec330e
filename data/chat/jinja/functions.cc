// Functions that templates find among their variables.
#include <algorithm>
#include <array>
#include <ctime>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/refusal.h"

namespace pivot::chat::jinja {
namespace {

constexpr int64_t kLargestRange = 100000;            // jinja2's sandbox
constexpr int64_t kLargestBound = int64_t{1} << 53;  // so that ranges never overflow

Value function_range(Renderer& r, const Value&, const Args& args) {
  if (args.positional.empty() || args.positional.size() > 3 || !args.named.empty()) {
    fail("range() takes 1 to 3 numbers");
  }
  Range* range = r.heap().make<Range>();
  std::array<int64_t, 3> n = {0, 0, 1};
  for (size_t i = 0; i < args.positional.size(); ++i) {
    n[i] = to_index(args.positional[i], "range()");
    if (std::abs(n[i] / 2) >= kLargestBound / 2) fail("range() of a number beyond 2^53");
  }
  if (n[2] == 0) fail("range() arg 3 must not be zero");
  range->start = args.positional.size() == 1 ? 0 : n[0];
  range->stop = args.positional.size() == 1 ? n[0] : n[1];
  range->step = n[2];
  if (range->size() > kLargestRange) fail("range too big: more than {} items", kLargestRange);
  return handle(Kind::Range, range);
}

// dict(mapping or pairs, key=value, ...)
Value make_dict(Renderer& r, const Args& args) {
  Dict* dict = r.heap().make<Dict>();
  if (args.positional.size() > 1) fail("dict() takes at most 1 value");
  for (const Value& from : args.positional) {
    if (from.is(Kind::Dict)) {
      for (const auto& [key, value] : from.as<Dict>().entries) dict->set(key, value);
      r.heap().charge(length(from) * 4);
      continue;
    }
    for (const Value& pair : iterate(r.heap(), from)) {
      const std::vector<Value> items = iterate(r.heap(), pair);
      if (items.size() != 2) fail("dict(): a pair is needed, not {} values", items.size());
      if (items[0].is(Kind::List) || items[0].is(Kind::Dict)) fail("unhashable type");
      r.heap().charge(static_cast<int64_t>(std::min<size_t>(dict->entries.size(), 64)));
      dict->set(items[0], items[1]);
    }
  }
  for (const auto& [name, value] : args.named) dict->set(r.heap().text(name), value);
  return handle(Kind::Dict, dict);
}

Value function_dict(Renderer& r, const Value&, const Args& args) {
  return make_dict(r, args);
}

Value function_namespace(Renderer& r, const Value&, const Args& args) {
  const Value dict = make_dict(r, args);
  Namespace* space = r.heap().make<Namespace>();
  for (const auto& [key, value] : dict.as<Dict>().entries) {
    if (!key.is(Kind::String)) fail("a namespace's attributes have names");
    if (text_of(key).starts_with("_")) {
      fail("a namespace has no attribute '{}': it begins with '_'", text_of(key));
    }
    space->attributes.emplace_back(text_of(key), value);
  }
  return handle(Kind::Namespace, space);
}

Value function_raise(Renderer& r, const Value&, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"message"};
  const Bound bound("raise_exception()", args, kNames);
  throw Refusal(std::string(text_of(to_string(r.heap(), bound.at(0)))));
}

Value function_strftime(Renderer& r, const Value&, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"format"};
  static constexpr std::string_view kKnown = "aAbBdjmMHIpSyYeFTDR%";
  const Bound bound("strftime_now()", args, kNames);
  const std::string format(text_of(to_string(r.heap(), bound.at(0))));
  constexpr size_t kLongest = 200;
  if (format.size() > kLongest) fail("strftime_now(): a format of more than {} bytes", kLongest);
  for (size_t at = format.find('%'); at != std::string::npos; at = format.find('%', at + 2)) {
    const size_t code = at + (at + 1 < format.size() && format[at + 1] == '-' ? 2 : 1);
    if (code >= format.size() || kKnown.find(format[code]) == std::string_view::npos) {
      fail("strftime_now(): the code after '%' in '{}' is not understood", format);
    }
    at = code - 1;
  }
  const std::time_t seconds = r.now();
  std::tm parts = {};
  if (gmtime_r(&seconds, &parts) == nullptr) fail("strftime_now(): no such time");
  std::array<char, 4096> text = {};
  const size_t n =
      format.empty() ? 0 : std::strftime(text.data(), text.size(), format.c_str(), &parts);
  return r.heap().text({text.data(), n});
}

constexpr Builtin kFunctions[] = {
    {"dict", &function_dict},
    {"namespace", &function_namespace},
    {"raise_exception", &function_raise},
    {"range", &function_range},
    {"strftime_now", &function_strftime},
};

}  // namespace

const Builtin* find_function(std::string_view name) {
  const auto found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                  [name](const Builtin& b) { return b.name == name; });
  return found == std::end(kFunctions) ? nullptr : found;
}

}  // namespace pivot::chat::jinja
