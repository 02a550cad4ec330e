#pragma once
/// What a template computes with: Python's values, as far as chat templates use them.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "data/chat/jinja/text.h"

namespace pivot::chat::jinja {

class Value;
using List = std::vector<Value>;

/// Keys are texts; their order is kept, as Python's dict does.
struct Dict {
  std::vector<std::pair<std::string, Value>> items;
  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
};

struct Undefined {
  std::string name;
};
struct None {};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};
using Function = std::function<Value(Arguments&)>;

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, Text, std::shared_ptr<List>,
                            std::shared_ptr<Dict>, std::shared_ptr<Function>>;

  Value() = default;
  Value(Data data) : data_(std::move(data)) {}  // NOLINT: any of them is a value
  static Value none() { return Data(None{}); }
  static Value boolean(bool b) { return Data(b); }
  static Value integer(int64_t i) { return Data(i); }
  static Value text(Text t) { return Data(std::move(t)); }
  static Value list(List l) { return Data(std::make_shared<List>(std::move(l))); }
  static Value dict(Dict d) { return Data(std::make_shared<Dict>(std::move(d))); }
  static Value function(Function f) { return Data(std::make_shared<Function>(std::move(f))); }

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  const Text* as_text() const { return as<Text>(); }
  const List* as_list() const {
    const auto* p = as<std::shared_ptr<List>>();
    return p == nullptr ? nullptr : p->get();
  }
  Dict* as_dict() const {
    const auto* p = as<std::shared_ptr<Dict>>();
    return p == nullptr ? nullptr : p->get();
  }
  bool undefined() const { return as<Undefined>() != nullptr; }
  bool is_none() const { return as<None>() != nullptr; }
  bool is_number() const { return as<bool>() || as<int64_t>() || as<double>(); }
  /// Of a number; bools count as 0 and 1.
  double number() const;
  /// The integer of a bool or an integer. Throws TypeError for others.
  int64_t whole() const;
  bool truthy() const;
  /// "int", "str", ... as Python names them.
  const char* type_name() const;

 private:
  Data data_;
};

/// What a template does wrong while it runs; the evaluator adds the line.
struct TypeError {
  std::string what;
};

/// Python's str() and repr().
Text to_text(const Value& value);
std::string repr(const Value& value);
bool equal(const Value& a, const Value& b);
/// Below 0, 0 or above. Throws TypeError where Python cannot order them.
int compare(const Value& a, const Value& b);
/// `item in container`
bool contains(const Value& container, const Value& item);
/// What a loop over the value sees: elements, keys, characters. Throws TypeError.
List elements(const Value& value);

/// json.dumps(value, ensure_ascii=False) with Python's separators; indent < 0: one line.
std::string to_json(const Value& value, int indent);
/// Throws UserError beginning with `where`. Integers stay integers.
Value from_json(const std::string& json, const std::string& where);

/// Byte offsets of the characters of valid UTF-8, and the end.
std::vector<size_t> character_offsets(const std::string& text);

}  // namespace pivot::chat::jinja
