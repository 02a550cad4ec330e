#pragma once
/// What template expressions evaluate to: Python's values as far as chat templates meet them.
/// Objects live on a Heap that is freed with the rendering; values are plain handles.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace pivot::chat::jinja {

/// Lists and dicts in one another; what walks through values recursively relies on it.
inline constexpr int kDeepest = 100;

/// Why a template stopped; becomes a UserError that names the line.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... A>
[[noreturn]] void fail(fmt::format_string<A...> text, A&&... args) {
  throw Failure(fmt::format(text, std::forward<A>(args)...));
}

enum class Kind : uint8_t {
  Undefined,
  None,
  Bool,
  Int,
  BigInt,  // an integer beyond 64 bits, kept as its digits
  Float,
  String,
  List,
  Tuple,
  Dict,
  View,  // dict.items(), .keys(), .values()
  Range,
  Generator,  // what filters like select() give: read once
  Namespace,
  Loop,
  Macro,
  Function,
  Method,
};

struct Object {
  virtual ~Object() = default;
};

// Owners of text below 0; from 0 it is the index of the assistant message that says it.
inline constexpr int32_t kTemplate = -1;  // written by the template
inline constexpr int32_t kOutside = -2;   // from the conversation, not said by the assistant

struct Value {
  Kind kind = Kind::Undefined;
  int32_t owner = kTemplate;  // of numbers, bools and None; texts know theirs by themselves
  union {
    Object* object = nullptr;
    bool boolean;
    int64_t integer;
    double number;
  };

  bool is(Kind k) const { return kind == k; }
  template <class T>
  T& as() const {
    return *static_cast<T*>(object);
  }
};

inline Value none() {
  Value v;
  v.kind = Kind::None;
  return v;
}
inline Value boolean(bool b) {
  Value v;
  v.kind = Kind::Bool;
  v.boolean = b;
  return v;
}
inline Value integer(int64_t i) {
  Value v;
  v.kind = Kind::Int;
  v.integer = i;
  return v;
}
inline Value number(double d) {
  Value v;
  v.kind = Kind::Float;
  v.number = d;
  return v;
}
inline Value handle(Kind kind, Object* object) {
  Value v;
  v.kind = kind;
  v.object = object;
  return v;
}

/// Where a stretch of text comes from. A stretch may be empty: it marks where empty content went.
struct Run {
  uint32_t end = 0;  // byte after its last; it begins where the one before ends
  int32_t owner = kTemplate;
  int32_t block = 0;  // number of the {% generation %} block that wrote it, 0 for none
};

struct String : Object {
  std::string text;       // valid UTF-8
  std::vector<Run> runs;  // up to text.size(); empty when the template wrote all of it
  bool markup = false;    // went through |safe: "+" escapes what is added (markupsafe)
};

struct BigInt : Object {
  std::string digits;
};

struct List : Object {  // and tuples
  std::vector<Value> items;
  int depth = 1;  // of lists and dicts in one another, bounded by kDeepest
};

struct Dict : Object {
  std::vector<std::pair<Value, Value>> entries;          // in order of insertion
  std::unordered_map<std::string_view, uint32_t> index;  // of string keys, once there are many
  int32_t message = -1;  // its index when it is a message of the conversation
  int depth = 1;

  /// Null where the key is missing.
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
  /// Replaces or appends; the key's text must live as long as the heap. Fails above kDeepest
  /// levels.
  void set(const Value& key, const Value& value);

 private:
  ptrdiff_t position(std::string_view key) const;
};

struct View : Object {
  enum What : uint8_t { Items, Keys, Values } what = Items;
  Dict* dict = nullptr;
};

struct Range : Object {
  int64_t start = 0, stop = 0, step = 1;
  int64_t size() const;
};

struct Generator : Object {
  std::vector<Value> items;
  size_t at = 0;
};

struct Namespace : Object {
  std::vector<std::pair<std::string, Value>> attributes;
};

/// The `loop` variable: reads one item ahead when asked for `last` or `nextitem`, as jinja2 does.
struct Loop : Object {
  std::function<bool(Value&)> pull;
  std::deque<Value> pending;  // pulled early to count them
  Value current, before;
  int64_t index0 = -1;
  int64_t length = -1;  // -1: not counted yet
  std::vector<Value> changed;
  bool changed_called = false;

  bool next(Value& item);
  bool peek(Value& item);
};

struct UndefinedInfo : Object {
  std::string message;  // of the error when it is used
};

struct Method : Object {
  Value self;
  std::string name;
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Owns objects and counts work, so that a template is bounded in time and memory: a unit is one
/// evaluated node, 8 bytes of text or 1/16 of an object.
class Heap {
 public:
  explicit Heap(int64_t limit) : limit_(limit) {}

  void charge(int64_t units) {
    used_ += units;
    if (used_ > limit_) fail_limit();
  }
  void charge_text(size_t bytes) { charge(static_cast<int64_t>(bytes / 8)); }

  template <class T>
  T* make() {
    charge(16);
    auto owned = std::make_unique<T>();
    T* object = owned.get();
    objects_.push_back(std::move(owned));
    return object;
  }

  Value text(std::string_view text, int32_t owner = kTemplate);
  /// Fails above kDeepest levels.
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value generator(std::vector<Value> items);
  Value undefined(std::string message);

  /// Set when a number was made from what the assistant said: its text can no longer be followed.
  std::string lost;

 private:
  [[noreturn]] void fail_limit() const;

  int64_t limit_;
  int64_t used_ = 0;
  std::vector<std::unique_ptr<Object>> objects_;
};

/// Longest text a template may build; 32-bit offsets hold it.
inline constexpr size_t kMaxText = size_t{1} << 30;

/// Text under construction that remembers where it comes from.
class TextBuilder {
 public:
  void append(std::string_view text, int32_t owner = kTemplate, int32_t block = 0);
  void append(const String& text);
  void append(const String& text, size_t begin, size_t end);

  size_t size() const { return text_.size(); }
  const std::string& text() const { return text_; }
  const std::vector<Run>& runs() const { return runs_; }
  /// Everything so far belongs to this {% generation %} block.
  void mark_block(int32_t block);
  Value finish(Heap& heap);

 private:
  void mark(int32_t owner, int32_t block, size_t bytes);

  std::string text_;
  std::vector<Run> runs_;
};

/// 0 for values that hold no others.
int depth_of(const Value& value);

/// "str", "dict", "int": Python's name of the type.
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
/// Python's ==.
bool equal(const Value& a, const Value& b);
/// Python's < for numbers, strings, lists and tuples; fails for other pairs.
bool less(const Value& a, const Value& b, std::string_view op);
bool is_number(const Value& value);  // bool, int or float
double to_double(const Value& value);

inline const String& string_of(const Value& value) {
  return value.as<String>();
}
inline std::string_view text_of(const Value& value) {
  return value.as<String>().text;
}

/// Appends str(value), or repr(value), as Python prints it.
void print(const Value& value, TextBuilder& out);
void print_repr(const Value& value, TextBuilder& out);
/// str(value); strings come back as they are.
Value to_string(Heap& heap, const Value& value);
/// repr(float).
std::string print_float(double value);

/// The items of anything that can be iterated; fails with Python's message for anything else. A
/// generator is read to its end.
std::vector<Value> iterate(Heap& heap, const Value& value);
/// len(); fails where Python has none.
int64_t length(const Value& value);

}  // namespace pivot::chat::jinja
