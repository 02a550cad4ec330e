#include "data/chat/jinja/parser.h"

#include <algorithm>

#include "data/chat/jinja/builtins.h"

namespace pivot::chat::jinja {
namespace {

bool contains(std::initializer_list<std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Body Parser::parse_template() {
  Body body = parse_body({});
  if (current().kind != TokenKind::End) fail_here("unexpected " + describe());
  check_calls();
  return body;
}

// Statements up to a block tag that begins with one of `ends` (left as the current name), or the
// end of the template.
Body Parser::parse_body(std::initializer_list<std::string_view> ends) {
  const Nested nested(*this);
  const int begins = line();
  Body body;
  for (;;) {
    const Token& token = current();
    if (token.kind == TokenKind::End) {
      if (ends.size() > 0) {
        fail_at(begins, fmt::format("the block that begins here has no {}", *(ends.end() - 1)));
      }
      return body;
    }
    if (token.kind == TokenKind::Data) {
      auto stmt = std::make_unique<Stmt>();
      stmt->line = token.line;
      stmt->constant = constants_.text(token.text);
      body.push_back(std::move(stmt));
      ++at_;
    } else if (token.kind == TokenKind::VariableBegin) {
      auto stmt = std::make_unique<Stmt>();
      stmt->kind = StmtKind::Output;
      stmt->line = token.line;
      ++at_;
      stmt->value = parse_tuple(true);
      expect(TokenKind::VariableEnd, "'}}'");
      body.push_back(std::move(stmt));
    } else {
      expect(TokenKind::BlockBegin, "a tag");
      if (current().kind == TokenKind::Name && contains(ends, current().text)) return body;
      body.push_back(parse_statement());
      expect(TokenKind::BlockEnd, "'%}'");
    }
  }
}

std::unique_ptr<Stmt> Parser::parse_statement() {
  if (current().kind != TokenKind::Name) fail_here("a tag name is expected, not " + describe());
  const std::string& tag = current().text;
  if (tag == "if") return parse_if();
  if (tag == "for") return parse_for();
  if (tag == "set") return parse_set();
  if (tag == "macro") return parse_macro();
  if (tag == "call") return parse_call_block();
  if (tag == "filter") return parse_filter_block();
  if (tag == "with") return parse_with();
  if (tag == "generation") return parse_generation();
  if (tag == "break" || tag == "continue") return parse_loop_control();
  fail_here(fmt::format("the tag '{}' is not understood here (docs/chat.md lists what is)", tag));
}

std::unique_ptr<Stmt> Parser::parse_if() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::If;
  stmt->line = line();
  do {  // at "if" or "elif"
    ++at_;
    ExprPtr test = parse_tuple(false);
    skip_op(":");
    expect(TokenKind::BlockEnd, "'%}'");
    Body body = parse_body({"elif", "else", "endif"});
    stmt->branches.emplace_back(std::move(test), std::move(body));
  } while (is_name("elif"));
  if (skip_name("else")) {
    skip_op(":");
    expect(TokenKind::BlockEnd, "'%}'");
    stmt->orelse = parse_body({"endif"});
  }
  ++at_;
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_for() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::For;
  stmt->line = line();
  ++at_;
  stmt->target = parse_target(false);
  define(stmt->target);
  if (!skip_name("in")) fail_here("'in' is expected, not " + describe());
  stmt->value = parse_tuple(false);
  if (skip_name("if")) stmt->test = parse_expression();
  if (is_name("recursive")) fail_here("recursive loops are not understood");
  skip_op(":");
  expect(TokenKind::BlockEnd, "'%}'");
  ++loops_;
  stmt->body = parse_body({"else", "endfor"});
  --loops_;
  if (skip_name("else")) {
    skip_op(":");
    expect(TokenKind::BlockEnd, "'%}'");
    stmt->orelse = parse_body({"endfor"});
  }
  ++at_;
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_set() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::Set;
  stmt->line = line();
  ++at_;
  stmt->target = parse_target(true);
  if (loops_ > 0 && stmt->target.name == "loop") fail_here("'loop' cannot be assigned in a loop");
  if (skip_op("=")) {
    stmt->value = parse_tuple(true);
  } else {
    stmt->kind = StmtKind::SetBlock;
    while (skip_op("|")) stmt->filter = parse_filter(std::move(stmt->filter));
    stmt->body = parse_captured("endset");
  }
  define(stmt->target);
  return stmt;
}

// The body of a block that becomes a text: loops around it cannot be left from within.
Body Parser::parse_captured(std::string_view end) {
  skip_op(":");
  expect(TokenKind::BlockEnd, "'%}'");
  const int loops = loops_;
  loops_ = 0;
  Body body = parse_body({end});
  loops_ = loops;
  ++at_;
  return body;
}

void Parser::parse_parameters(Stmt& stmt) {
  expect_op("(");
  while (!is_op(")")) {
    if (!stmt.parameters.empty()) {
      expect_op(",");
      if (is_op(")")) break;
    }
    Parameter parameter;
    parameter.name = expect_name();
    defined_.push_back(parameter.name);
    if (skip_op("=")) {
      parameter.fallback = parse_expression();
    } else if (!stmt.parameters.empty() && stmt.parameters.back().fallback) {
      fail_here(fmt::format("parameter '{}' needs a default too", parameter.name));
    }
    stmt.parameters.push_back(std::move(parameter));
  }
  expect_op(")");
}

// A macro takes surplus arguments only if its body names `varargs` or `kwargs`.
void Parser::finish_macro(Stmt& stmt) {
  const size_t before = used_.size();
  const size_t macros_line = static_cast<size_t>(stmt.line);
  stmt.body = parse_captured(stmt.kind == StmtKind::Macro ? "endmacro" : "endcall");
  const auto uses = [&](std::string_view name) {
    return std::find(used_.begin() + static_cast<ptrdiff_t>(before), used_.end(), name) !=
           used_.end();
  };
  stmt.takes_varargs = uses("varargs");
  stmt.takes_kwargs = uses("kwargs");
  stmt.takes_caller = uses("caller");
  for (const Parameter& parameter : stmt.parameters) {
    if (parameter.name == "caller" || parameter.name == "varargs" || parameter.name == "kwargs") {
      fail_at(static_cast<int>(macros_line),
              fmt::format("a macro's parameter may not be named '{}'", parameter.name));
    }
  }
}

std::unique_ptr<Stmt> Parser::parse_macro() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::Macro;
  stmt->line = line();
  ++at_;
  stmt->name = expect_name();
  defined_.push_back(stmt->name);
  parse_parameters(*stmt);
  finish_macro(*stmt);
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_call_block() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::CallBlock;
  stmt->line = line();
  ++at_;
  if (is_op("(")) parse_parameters(*stmt);
  stmt->value = parse_expression();
  if (stmt->value->kind != ExprKind::Call) fail_here("a call is expected in a call block");
  finish_macro(*stmt);
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_filter_block() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::Filter;
  stmt->line = line();
  ++at_;
  stmt->filter = parse_filter(nullptr);
  while (skip_op("|")) stmt->filter = parse_filter(std::move(stmt->filter));
  stmt->body = parse_captured("endfilter");
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_with() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::With;
  stmt->line = line();
  ++at_;
  while (current().kind != TokenKind::BlockEnd && !is_op(":")) {
    if (!stmt->bindings.empty()) expect_op(",");
    Target target = parse_single_target(false);
    define(target);
    expect_op("=");
    stmt->bindings.emplace_back(std::move(target), parse_expression());
  }
  skip_op(":");
  expect(TokenKind::BlockEnd, "'%}'");
  stmt->body = parse_body({"endwith"});
  ++at_;
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_generation() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = StmtKind::Generation;
  stmt->line = line();
  ++at_;
  stmt->body = parse_captured("endgeneration");
  has_generation_ = true;
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_loop_control() {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = current().text == "break" ? StmtKind::Break : StmtKind::Continue;
  stmt->line = line();
  if (loops_ == 0) fail_here(fmt::format("'{}' stands outside of a loop", current().text));
  ++at_;
  return stmt;
}

Target Parser::parse_single_target(bool with_attributes) {
  const Nested nested(*this);
  if (skip_op("(")) {
    Target target = parse_target(with_attributes);
    expect_op(")");
    return target;
  }
  Target target;
  target.name = expect_name();
  if (contains({"true", "false", "True", "False", "none", "None"}, target.name)) {
    fail_here(fmt::format("'{}' cannot be assigned", target.name));
  }
  if (with_attributes && skip_op(".")) {
    used_.push_back(target.name);
    target.attribute = expect_name();
    if (target.attribute[0] == '_') {
      fail_here(
          fmt::format("a namespace has no attribute '{}': it begins with '_'", target.attribute));
    }
  }
  return target;
}

Target Parser::parse_target(bool with_attributes) {
  Target first = parse_single_target(with_attributes);
  if (!is_op(",")) return first;
  Target tuple;
  tuple.is_tuple = true;
  tuple.several.push_back(std::move(first));
  while (skip_op(",")) {
    if (is_name("in") || is_op("=") || is_op(")")) break;
    tuple.several.push_back(parse_single_target(with_attributes));
  }
  return tuple;
}

void Parser::define(const Target& target) {
  if (target.is_tuple) {
    for (const Target& t : target.several) define(t);
  } else if (target.attribute.empty()) {
    defined_.push_back(target.name);
  }
}

void Parser::check_calls() const {
  for (const auto& [name, line] : called_) {
    const bool known = find_function(name) != nullptr || name == "caller" ||
                       std::find(defined_.begin(), defined_.end(), name) != defined_.end();
    if (!known) fail_at(line, fmt::format("the function '{}' is not understood", name));
  }
}

bool Parser::is_op(std::string_view op) const {
  return current().kind == TokenKind::Operator && current().text == op;
}

bool Parser::is_name(std::string_view name) const {
  return current().kind == TokenKind::Name && current().text == name;
}

bool Parser::skip_op(std::string_view op) {
  if (!is_op(op)) return false;
  ++at_;
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  ++at_;
  return true;
}

void Parser::expect_op(std::string_view op) {
  if (!skip_op(op)) fail_here(fmt::format("'{}' is expected, not {}", op, describe()));
}

std::string Parser::expect_name() {
  if (current().kind != TokenKind::Name) fail_here("a name is expected, not " + describe());
  return tokens_[at_++].text;
}

void Parser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) fail_here(fmt::format("{} is expected, not {}", what, describe()));
  ++at_;
}

void Parser::fail_here(const std::string& what) const {
  fail_at(line(), what);
}

std::string Parser::describe() const {
  switch (current().kind) {
    case TokenKind::Data:
      return "text";
    case TokenKind::BlockBegin:
      return "'{%'";
    case TokenKind::BlockEnd:
      return "'%}'";
    case TokenKind::VariableBegin:
      return "'{{'";
    case TokenKind::VariableEnd:
      return "'}}'";
    case TokenKind::Text:
      return "a string";
    case TokenKind::End:
      return "the end of the template";
    default:
      return fmt::format("'{}'", current().text);
  }
}

Program parse(std::string_view source) {
  constexpr size_t kLargestSource = size_t{4} << 20;  // real templates stay below 100 KB
  if (source.size() > kLargestSource) {
    fail_at(1,
            fmt::format("{} bytes of template, {} are the limit", source.size(), kLargestSource));
  }
  Program program;
  program.constants = std::make_unique<Heap>(INT64_MAX);
  Parser parser(tokenize(source), *program.constants);
  program.body = parser.parse_template();
  program.has_generation = parser.has_generation();
  for (size_t from = 0; from <= source.size();) {
    const size_t end = std::min(source.find('\n', from), source.size());
    program.lines.emplace_back(source.substr(from, end - from));
    from = end + 1;
  }
  return program;
}

}  // namespace pivot::chat::jinja
