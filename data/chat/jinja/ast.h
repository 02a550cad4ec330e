#pragma once
/// A parsed template.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    Literal,    // value
    Name,       // name
    Sequence,   // children
    Mapping,    // children: key, value, key, value, ...
    Attribute,  // children[0].name
    Item,       // children[0][children[1]]
    Slice,      // children[0][children[1]:children[2]:children[3]], null where left out
    Call,       // children[0](children[1..], named)
    Filter,     // children[0] | name(children[1..], named)
    Test,       // children[0] is name(children[1..]); negated: is not
    Unary,      // name children[0]: - + not
    Binary,     // children[0] name children[1]: arithmetic, ~, and, or
    Compare,    // children[0] operators[0] children[1] operators[1] ...
    Choice,     // children[0] if children[1] else children[2] (may be null)
  };
  Kind kind;
  int line;
  std::string name;
  Value value;
  std::vector<ExpressionPtr> children;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
  bool negated = false;
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind { Text, Output, If, For, Set, SetBlock, Macro, Break, Continue, Generation };
  Kind kind;
  int line = 0;
  std::string text = {};                  // Text; name of a Macro
  ExpressionPtr expression = {};          // Output; condition; what is looped over or set
  ExpressionPtr filter = {};              // For ... if
  std::vector<std::string> targets = {};  // For, Set; parameters of a Macro. "ns.x": an attribute
  std::vector<ExpressionPtr> defaults = {};  // Macro: of the last parameters
  bool recursive = false;
  Body body = {};
  Body otherwise = {};
};

/// Throws UserError naming the line and what is not understood.
Body parse_template(std::string_view source);

}  // namespace pivot::chat::jinja
