#pragma once
/// Python's string methods on text that remembers where it comes from.

#include <functional>

#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

/// Bytes [begin, end) of a string; markup stays markup.
Value slice_bytes(Heap& heap, const String& s, size_t begin, size_t end);

enum class Side { Left, Right, Both };
/// str.strip() and its kin; null strips whitespace, else the characters of `*characters`.
Value strip(Heap& heap, const String& s, Side side, const std::string_view* characters);
/// str.split(separator, at_most) from the left, str.rsplit() from the right; null splits at
/// whitespace; negative: no limit.
Value split(Heap& heap, const String& s, const std::string_view* separator, int64_t at_most,
            Side from);
Value split_lines(Heap& heap, const String& s, bool keep_ends);
/// str.replace(); what replaces said text counts as said. Negative count: all.
Value replace(Heap& heap, const String& s, std::string_view old, const String& with, int64_t count);
Value join(Heap& heap, const String& separator, const std::vector<Value>& items);

enum class Case { Upper, Lower, Swap };
Value change_case(Heap& heap, const String& s, Case to);
/// First character upper, the others lower (str.capitalize()); fails beyond ASCII where a title
/// case differs.
Value capitalize(Heap& heap, const String& s);
/// str.title(): letters after anything but a letter are upper.
Value title_method(Heap& heap, const String& s);
/// jinja2's filter `title`: words begin after space, "-", "(", "{", "[" and "<".
Value title_filter(Heap& heap, const String& s);

/// markupsafe.escape().
Value escape_html(Heap& heap, const String& s);
/// "..." % values for %s %r %d %i %f %x %%; fails on other conversions.
Value format_percent(Heap& heap, const String& format, const Value& values);
/// "...".format(...) for {}, {0} and {name} without format specifications.
Value format_braces(Heap& heap, const String& format, const Args& args);

}  // namespace pivot::chat::jinja
