// Expressions, in the order of jinja2's precedence.
#include <algorithm>
#include <cstdlib>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/parser.h"

namespace pivot::chat::jinja {
namespace {

// Of an expression's tree; a chain of 200 additions is one.
constexpr int kDeepestExpression = 200;

}  // namespace

void Parser::measure(Expr& expr, const Expr* operand) const {
  if (operand == nullptr) return;
  expr.depth = std::max(expr.depth, operand->depth + 1);
  if (expr.depth > kDeepestExpression) {
    fail_at(expr.line, fmt::format("an expression of more than {} levels", kDeepestExpression));
  }
}

ExprPtr Parser::make(ExprKind kind, int line, std::vector<ExprPtr> operands) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  for (ExprPtr& operand : operands) measure(*expr, operand.get());
  expr->operands = std::move(operands);
  return expr;
}

ExprPtr Parser::binary(std::string op, ExprPtr left, ExprPtr right, int line) {
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(left));
  operands.push_back(std::move(right));
  const ExprKind kind = op == "and" ? ExprKind::And : op == "or" ? ExprKind::Or : ExprKind::Binary;
  ExprPtr expr = make(kind, line, std::move(operands));
  expr->name = std::move(op);
  return expr;
}

ExprPtr Parser::parse_expression() {
  return parse_conditional();
}

bool Parser::at_tuple_end() const {
  return current().kind == TokenKind::VariableEnd || current().kind == TokenKind::BlockEnd ||
         is_op(")");
}

ExprPtr Parser::parse_tuple(bool with_condition, bool parentheses) {
  const int begins = line();
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  for (;;) {
    if (!items.empty()) expect_op(",");
    if (at_tuple_end()) break;
    items.push_back(with_condition ? parse_conditional() : parse_or());
    if (!is_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !parentheses) fail_here("an expression is expected, not " + describe());
  return make(ExprKind::Tuple, begins, std::move(items));
}

ExprPtr Parser::parse_conditional() {
  const Nested nested(*this);
  const int begins = line();
  ExprPtr value = parse_or();
  while (skip_name("if")) {
    std::vector<ExprPtr> operands;
    operands.push_back(parse_or());
    operands.push_back(std::move(value));
    operands.push_back(skip_name("else") ? parse_conditional() : nullptr);
    value = make(ExprKind::Conditional, begins, std::move(operands));
  }
  return value;
}

ExprPtr Parser::parse_or() {
  const int begins = line();
  ExprPtr left = parse_and();
  while (skip_name("or")) left = binary("or", std::move(left), parse_and(), begins);
  return left;
}

ExprPtr Parser::parse_and() {
  const int begins = line();
  ExprPtr left = parse_not();
  while (skip_name("and")) left = binary("and", std::move(left), parse_not(), begins);
  return left;
}

ExprPtr Parser::parse_not() {
  const int begins = line();
  if (!skip_name("not")) return parse_compare();
  const Nested nested(*this);
  std::vector<ExprPtr> operands;
  operands.push_back(parse_not());
  return make(ExprKind::Not, begins, std::move(operands));
}

ExprPtr Parser::parse_compare() {
  const int begins = line();
  std::vector<ExprPtr> operands;
  std::vector<std::string> ops;
  operands.push_back(parse_sum());
  for (;;) {
    if (current().kind == TokenKind::Operator &&
        (is_op("==") || is_op("!=") || is_op("<") || is_op("<=") || is_op(">") || is_op(">="))) {
      ops.push_back(tokens_[at_++].text);
    } else if (skip_name("in")) {
      ops.emplace_back("in");
    } else if (is_name("not") && look().kind == TokenKind::Name && look().text == "in") {
      at_ += 2;
      ops.emplace_back("not in");
    } else {
      break;
    }
    operands.push_back(parse_sum());
  }
  if (ops.empty()) return std::move(operands.front());
  ExprPtr expr = make(ExprKind::Compare, begins, std::move(operands));
  expr->ops = std::move(ops);
  return expr;
}

ExprPtr Parser::parse_sum() {
  const int begins = line();
  ExprPtr left = parse_concat();
  while (is_op("+") || is_op("-")) {
    const std::string op = tokens_[at_++].text;
    left = binary(op, std::move(left), parse_concat(), begins);
  }
  return left;
}

ExprPtr Parser::parse_concat() {
  const int begins = line();
  std::vector<ExprPtr> operands;
  operands.push_back(parse_product());
  while (skip_op("~")) operands.push_back(parse_product());
  if (operands.size() == 1) return std::move(operands.front());
  return make(ExprKind::Concat, begins, std::move(operands));
}

ExprPtr Parser::parse_product() {
  const int begins = line();
  ExprPtr left = parse_power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const std::string op = tokens_[at_++].text;
    left = binary(op, std::move(left), parse_power(), begins);
  }
  return left;
}

ExprPtr Parser::parse_power() {
  const int begins = line();
  ExprPtr left = parse_unary(true);
  while (skip_op("**")) left = binary("**", std::move(left), parse_unary(true), begins);
  return left;
}

ExprPtr Parser::parse_unary(bool with_filter) {
  const int begins = line();
  ExprPtr node;
  if (is_op("-") || is_op("+")) {
    const Nested nested(*this);
    const ExprKind kind = is_op("-") ? ExprKind::Negative : ExprKind::Positive;
    ++at_;
    std::vector<ExprPtr> operands;
    operands.push_back(parse_unary(false));
    node = make(kind, begins, std::move(operands));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filter ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

ExprPtr Parser::parse_name() {
  const Token& token = tokens_[at_++];
  ExprPtr expr = make(ExprKind::Constant, token.line);
  if (token.text == "true" || token.text == "True") {
    expr->constant = boolean(true);
  } else if (token.text == "false" || token.text == "False") {
    expr->constant = boolean(false);
  } else if (token.text == "none" || token.text == "None") {
    expr->constant = none();
  } else {
    expr->kind = ExprKind::Name;
    expr->name = token.text;
    used_.push_back(token.text);
  }
  return expr;
}

ExprPtr Parser::parse_number() {
  const Token& token = tokens_[at_++];
  ExprPtr expr = make(ExprKind::Constant, token.line);
  if (token.kind == TokenKind::Float) {
    expr->constant = number(std::strtod(token.text.c_str(), nullptr));
    return expr;
  }
  constexpr size_t kSafeDigits = 18;
  if (token.text.size() > kSafeDigits) {
    fail_at(token.line, fmt::format("the number {} is too large", token.text.substr(0, 40)));
  }
  expr->constant = integer(std::strtoll(token.text.c_str(), nullptr, 10));
  return expr;
}

ExprPtr Parser::parse_primary() {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::Name:
      return parse_name();
    case TokenKind::Integer:
    case TokenKind::Float:
      return parse_number();
    case TokenKind::Text: {
      ExprPtr expr = make(ExprKind::Constant, token.line);
      std::string text;
      while (current().kind == TokenKind::Text) text += tokens_[at_++].text;
      expr->constant = constants_.text(text);
      return expr;
    }
    default:
      break;
  }
  if (is_op("[")) return parse_list();
  if (is_op("{")) return parse_dict();
  if (!skip_op("(")) fail_here("unexpected " + describe());
  ExprPtr inner = parse_tuple(true, true);
  expect_op(")");
  return inner;
}

ExprPtr Parser::parse_list() {
  const int begins = line();
  expect_op("[");
  std::vector<ExprPtr> items;
  while (!is_op("]")) {
    if (!items.empty()) expect_op(",");
    if (is_op("]")) break;
    items.push_back(parse_expression());
  }
  expect_op("]");
  return make(ExprKind::List, begins, std::move(items));
}

ExprPtr Parser::parse_dict() {
  const int begins = line();
  expect_op("{");
  std::vector<ExprPtr> items;
  while (!is_op("}")) {
    if (!items.empty()) expect_op(",");
    if (is_op("}")) break;
    items.push_back(parse_expression());
    expect_op(":");
    items.push_back(parse_expression());
  }
  expect_op("}");
  return make(ExprKind::Dict, begins, std::move(items));
}

ExprPtr Parser::parse_postfix(ExprPtr node) {
  for (;;) {
    if (is_op(".") || is_op("[")) {
      node = parse_subscript(std::move(node));
    } else if (is_op("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::parse_filters_and_tests(ExprPtr node) {
  for (;;) {
    if (skip_op("|")) {
      node = parse_filter(std::move(node));
    } else if (is_name("is")) {
      node = parse_test(std::move(node));
    } else if (is_op("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr node) {
  const int begins = line();
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(node));
  if (skip_op(".")) {
    if (current().kind == TokenKind::Integer) {
      operands.push_back(parse_number());
      return make(ExprKind::Item, begins, std::move(operands));
    }
    const std::string name = expect_name();
    ExprPtr expr = make(ExprKind::Attribute, begins, std::move(operands));
    expr->name = name;
    return expr;
  }
  expect_op("[");
  ExprKind kind = ExprKind::Item;
  if (is_op("]")) fail_here("an index is expected");
  operands.push_back(is_op(":") ? nullptr : parse_expression());
  if (skip_op(":")) {
    kind = ExprKind::Slice;
    operands.push_back(is_op(":") || is_op("]") ? nullptr : parse_expression());
    operands.push_back(skip_op(":") && !is_op("]") ? parse_expression() : nullptr);
  }
  if (is_op(",")) fail_here("an index of several parts is not understood");
  expect_op("]");
  return make(kind, begins, std::move(operands));
}

Arguments Parser::parse_arguments() {
  Arguments arguments;
  expect_op("(");
  bool comma = false;
  while (!is_op(")")) {
    if (comma) {
      expect_op(",");
      if (is_op(")")) break;
    }
    comma = true;
    if (skip_op("**")) {
      if (arguments.star_star) fail_here("'**' twice in a call");
      arguments.star_star = parse_expression();
    } else if (skip_op("*")) {
      if (arguments.star || arguments.star_star) fail_here("'*' is misplaced in a call");
      arguments.star = parse_expression();
    } else if (current().kind == TokenKind::Name && look().kind == TokenKind::Operator &&
               look().text == "=") {
      if (arguments.star_star) fail_here("an argument follows '**'");
      const std::string name = expect_name();
      ++at_;
      for (const auto& [other, value] : arguments.named) {
        if (other == name) fail_here(fmt::format("argument '{}' is given twice", name));
      }
      arguments.named.emplace_back(name, parse_expression());
    } else {
      if (arguments.star || arguments.star_star || !arguments.named.empty()) {
        fail_here("an argument without a name follows those with one");
      }
      arguments.positional.push_back(parse_expression());
    }
  }
  expect_op(")");
  return arguments;
}

ExprPtr Parser::parse_call(ExprPtr node) {
  const int begins = line();
  if (node->kind == ExprKind::Name) called_.emplace_back(node->name, begins);
  if (node->kind == ExprKind::Attribute && !is_method_name(node->name)) {
    fail_at(begins, fmt::format("the method '{}' is not understood", node->name));
  }
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(node));
  ExprPtr expr = make(ExprKind::Call, begins, std::move(operands));
  expr->arguments = parse_arguments();
  for (const ExprPtr& e : expr->arguments.positional) measure(*expr, e.get());
  for (const auto& [name, e] : expr->arguments.named) measure(*expr, e.get());
  return expr;
}

// map, select and reject name another filter or test in their first argument.
void Parser::check_named_builtin(const Expr& filter) const {
  const bool attribute = filter.name == "selectattr" || filter.name == "rejectattr";
  const bool test = attribute || filter.name == "select" || filter.name == "reject";
  if (!test && filter.name != "map") return;
  const size_t at = attribute ? 1 : 0;
  if (filter.arguments.positional.size() <= at) return;
  const Expr& name = *filter.arguments.positional[at];
  if (name.kind != ExprKind::Constant || !name.constant.is(Kind::String)) return;
  const std::string_view text = text_of(name.constant);
  if (test ? find_test(text) == nullptr : find_filter(text) == nullptr) {
    fail_at(filter.line,
            fmt::format("the {} '{}' is not understood", test ? "test" : "filter", text));
  }
}

ExprPtr Parser::parse_filter(ExprPtr node) {
  const int begins = line();
  const std::string name = expect_name();
  const Builtin* builtin = find_filter(name);
  if (builtin == nullptr) fail_at(begins, fmt::format("the filter '{}' is not understood", name));
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(node));
  ExprPtr expr = make(ExprKind::Filter, begins, std::move(operands));
  expr->name = name;
  expr->builtin = builtin;
  if (is_op("(")) expr->arguments = parse_arguments();
  for (const ExprPtr& e : expr->arguments.positional) measure(*expr, e.get());
  for (const auto& [key, e] : expr->arguments.named) measure(*expr, e.get());
  check_named_builtin(*expr);
  return expr;
}

ExprPtr Parser::parse_test(ExprPtr node) {
  const int begins = line();
  ++at_;
  const bool negated = skip_name("not");
  const std::string name = expect_name();
  const Builtin* builtin = find_test(name);
  if (builtin == nullptr) fail_at(begins, fmt::format("the test '{}' is not understood", name));
  std::vector<ExprPtr> operands;
  operands.push_back(std::move(node));
  ExprPtr expr = make(ExprKind::Test, begins, std::move(operands));
  expr->name = name;
  expr->builtin = builtin;
  const TokenKind kind = current().kind;
  if (is_op("(")) {
    expr->arguments = parse_arguments();
  } else if (kind == TokenKind::Text || kind == TokenKind::Integer || kind == TokenKind::Float ||
             is_op("[") || is_op("{") ||
             (kind == TokenKind::Name && !is_name("else") && !is_name("or") && !is_name("and"))) {
    if (is_name("is")) fail_here("tests cannot be chained with 'is'");
    expr->arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  for (const ExprPtr& e : expr->arguments.positional) measure(*expr, e.get());
  for (const auto& [key, e] : expr->arguments.named) measure(*expr, e.get());
  if (!negated) return expr;
  std::vector<ExprPtr> inner;
  inner.push_back(std::move(expr));
  return make(ExprKind::Not, begins, std::move(inner));
}

}  // namespace pivot::chat::jinja
