#pragma once
/// The grammar of jinja2, statements in parser.cc and expressions in expressions.cc.

#include <string_view>
#include <vector>

#include "data/chat/jinja/ast.h"
#include "data/chat/jinja/lexer.h"

namespace pivot::chat::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, Heap& constants)
      : tokens_(std::move(tokens)), constants_(constants) {}

  Body parse_template();
  bool has_generation() const { return has_generation_; }

 private:
  // statements
  Body parse_body(std::initializer_list<std::string_view> ends);
  std::unique_ptr<Stmt> parse_statement();
  std::unique_ptr<Stmt> parse_if();
  std::unique_ptr<Stmt> parse_for();
  std::unique_ptr<Stmt> parse_set();
  std::unique_ptr<Stmt> parse_macro();
  std::unique_ptr<Stmt> parse_call_block();
  std::unique_ptr<Stmt> parse_filter_block();
  std::unique_ptr<Stmt> parse_with();
  std::unique_ptr<Stmt> parse_generation();
  std::unique_ptr<Stmt> parse_loop_control();
  Body parse_captured(std::string_view end);
  void parse_parameters(Stmt& stmt);
  void finish_macro(Stmt& stmt);
  Target parse_target(bool with_attributes);
  Target parse_single_target(bool with_attributes);
  void define(const Target& target);
  void check_calls() const;

  // expressions
  ExprPtr parse_expression();
  ExprPtr parse_tuple(bool with_condition, bool parentheses = false);
  bool at_tuple_end() const;
  ExprPtr parse_conditional();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_number();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_filters_and_tests(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr node);
  ExprPtr parse_call(ExprPtr node);
  ExprPtr parse_filter(ExprPtr node);
  ExprPtr parse_test(ExprPtr node);
  Arguments parse_arguments();
  void check_named_builtin(const Expr& filter) const;
  ExprPtr binary(std::string op, ExprPtr left, ExprPtr right, int line);
  ExprPtr make(ExprKind kind, int line, std::vector<ExprPtr> operands = {});
  void measure(Expr& expr, const Expr* operand) const;

  // tokens
  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  int line() const { return current().line; }
  bool is_op(std::string_view op) const;
  bool is_name(std::string_view name) const;
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  std::string expect_name();
  void expect(TokenKind kind, std::string_view what);
  [[noreturn]] void fail_here(const std::string& what) const;
  std::string describe() const;

  // Blocks, brackets and signs in one another; each level takes some stack here and in the
  // renderer.
  static constexpr int kDeepestNesting = 80;
  class Nested {
   public:
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kDeepestNesting) parser_.fail_here("nested too deeply");
    }
    ~Nested() { --parser_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  std::vector<Token> tokens_;
  Heap& constants_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;  // for-loops around, up to the nearest captured body
  bool has_generation_ = false;
  std::vector<std::string> defined_;                 // names the template assigns
  std::vector<std::pair<std::string, int>> called_;  // names it calls, and where
  std::vector<std::string> used_;                    // every name it reads
};

}  // namespace pivot::chat::jinja
