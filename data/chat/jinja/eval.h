#pragma once
/// Runs a parsed template.

#include <cstddef>
#include <vector>

#include "data/chat/jinja/ast.h"

namespace pivot::chat::jinja {

struct Range {
  size_t begin = 0;
  size_t end = 0;
};

struct Output {
  Text text;
  std::vector<Range> generation;  // what {% generation %} blocks wrote
};

/// Throws UserError naming the line of what failed, or the template's own complaint
/// (raise_exception). Steps, output and depth are bounded. `now`: seconds since 1970 for
/// strftime_now.
Output run_template(const Body& body, const Dict& variables, int64_t now);

}  // namespace pivot::chat::jinja
