#pragma once
/// What a template says, parsed.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

struct Builtin;

enum class ExprKind : unsigned char {
  Constant,
  Name,
  List,
  Tuple,
  Dict,         // operands: key, value, key, value, ...
  Attribute,    // operands[0].name
  Item,         // operands[0][operands[1]]
  Slice,        // operands[0][operands[1]:operands[2]:operands[3]], each bound may be null
  Call,         // operands[0](arguments)
  Filter,       // operands[0] | name(arguments); null inside a filter block
  Test,         // operands[0] is name(arguments)
  Conditional,  // operands[1] if operands[0] else operands[2], which may be null
  And,
  Or,
  Not,
  Negative,
  Positive,
  Binary,   // name is the operator
  Concat,   // operands joined by ~
  Compare,  // operands[0] ops[0] operands[1] ops[1] ...
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;
};

struct Expr {
  ExprKind kind = ExprKind::Constant;
  int line = 1;
  int depth = 1;  // of nested expressions, bounded by the parser
  Value constant;
  std::string name;
  std::vector<ExprPtr> operands;
  std::vector<std::string> ops;
  Arguments arguments;
  const Builtin* builtin = nullptr;  // of filters and tests
};

/// What is assigned to: a name, an attribute of a namespace, or several of them.
struct Target {
  std::string name;
  std::string attribute;        // "" for a name
  std::vector<Target> several;  // not empty for a tuple
  bool is_tuple = false;
};

enum class StmtKind : unsigned char {
  Text,        // constant
  Output,      // value
  If,          // branches, orelse
  For,         // target, value, test, body, orelse
  Set,         // target = value
  SetBlock,    // target = body | filter
  Macro,       // name(parameters) body
  CallBlock,   // value with a caller: parameters, body
  Filter,      // filter(body)
  With,        // bindings, body
  Generation,  // body
  Break,
  Continue,
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  // null where there is none
};

struct Stmt {
  StmtKind kind = StmtKind::Text;
  int line = 1;
  Value constant;
  std::string name;
  ExprPtr value, test, filter;
  Target target;
  std::vector<Parameter> parameters;
  std::vector<std::pair<Target, ExprPtr>> bindings;
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body body, orelse;
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;  // macros
};

/// A parsed template and the text constants in it.
struct Program {
  std::unique_ptr<Heap> constants;
  Body body;
  std::vector<std::string> lines;  // of the source, for messages
  bool has_generation = false;
};

/// Throws UserError naming line and construct of what is not understood.
Program parse(std::string_view source);

}  // namespace pivot::chat::jinja
