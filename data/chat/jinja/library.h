#pragma once
/// Filters, tests and methods that templates may use; anything else is refused by name.

#include <string>
#include <string_view>

#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

bool known_filter(std::string_view name);
bool known_test(std::string_view name);

/// value | name(arguments...). Throws TypeError.
Value apply_filter(std::string_view name, const Value& value, Arguments& arguments);
/// value is name(argument)
bool apply_test(std::string_view name, const Value& value, const Arguments& arguments);
/// value.name(arguments): methods of Python's str, dict and list. False where there is none of this
/// name.
bool call_method(const Value& value, std::string_view name, Arguments& arguments, Value& result);
bool known_method(const Value& value, std::string_view name);

/// value.name or value["name"] of a dict, undefined where it has none.
Value attribute(const Value& value, std::string_view name);
/// value[key]
Value item(const Value& value, const Value& key);
/// value[begin:end:step]; null where left out.
Value slice(const Value& value, const Value* begin, const Value* end, const Value* step);

/// Argument `position` or `name`, null where it is not given.
const Value* argument(const Arguments& arguments, size_t position, std::string_view name);

}  // namespace pivot::chat::jinja
