#pragma once
/// JSON into values.

#include <string>
#include <string_view>

#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

/// Text below the owners' keys belongs to `owner`. Fails naming the byte on bad JSON, invalid
/// UTF-8 and nesting above kDeepest. Numbers keep their digits, keys their order; of equal keys
/// the last one counts, as in Python.
Value parse_json(Heap& heap, std::string_view json, int32_t owner = kTemplate);

}  // namespace pivot::chat::jinja
