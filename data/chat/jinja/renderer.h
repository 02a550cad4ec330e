#pragma once
/// Runs a parsed template.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/chat/jinja/ast.h"
#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

struct Scope : Object {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> variables;

  const Value* find(std::string_view name) const;
  void set(std::string_view name, const Value& value);
};

/// Statements and expressions in one another while rendering, macros included: counts work and
/// bounds the stack.
class Level {
 public:
  Level(int& depth, Heap& heap) : depth_(depth) {
    // A level takes a few hundred bytes of stack, a few kilobytes under sanitizers.
    constexpr int kDeepestLevel = 900;
    if (++depth_ > kDeepestLevel) fail("macros call one another too deeply");
    heap.charge(1);
  }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& depth_;
};

struct Function : Object {
  const Builtin* builtin = nullptr;
};

struct Macro : Object {
  const Stmt* definition = nullptr;
  Scope* scope = nullptr;  // where it was defined
};

/// A {% generation %} block that was rendered.
struct Block {
  int32_t message = -1;  // the message its loop was at; -1 outside of a loop over messages
};

struct Output {
  TextBuilder text;
  std::vector<Block> blocks;  // number i of a run's `block` is blocks[i - 1]
};

class Renderer {
 public:
  Renderer(const Program& program, Heap& heap, int64_t now)
      : program_(program), heap_(heap), now_(now) {}

  /// `variables` are the names the template may read. Throws UserError naming the line.
  Output run(std::vector<std::pair<std::string, Value>> variables);

  Heap& heap() { return heap_; }
  int64_t now() const { return now_; }
  int& depth() { return depth_; }

  /// value.name and value[key] of jinja2's sandbox; missing ones are undefined.
  Value attribute(const Value& value, std::string_view name);
  Value item(const Value& value, const Value& key);
  Value call(const Value& callee, const Args& args);
  Value method(const Value& self, std::string_view name);
  /// Python's `in`.
  bool contains(const Value& container, const Value& value);
  /// Fails with the message of an undefined value.
  [[noreturn]] static void fail_undefined(const Value& value);

 private:
  enum class Flow { Normal, Break, Continue };
  class InScope;

  // statements
  Flow run_body(const Body& body);
  Flow run_statement(const Stmt& stmt);
  Flow run_if(const Stmt& stmt);
  Flow run_for(const Stmt& stmt);
  std::function<bool(Value&)> loop_items(const Stmt& stmt, const Value& iterable);
  Flow run_with(const Stmt& stmt);
  void run_set(const Stmt& stmt);
  void run_call_block(const Stmt& stmt);
  void run_generation(const Stmt& stmt);
  Value capture(const Body& body);
  void assign(const Target& target, const Value& value);
  Value make_macro(const Stmt& stmt);
  Value call_macro(const Macro& macro, const Args& args);
  void bind_parameters(const Stmt& definition, const Args& args);

  // expressions
  Value evaluate(const Expr& expr);
  Value evaluate_kind(const Expr& expr);
  Value lookup(const std::string& name);
  Value evaluate_list(const Expr& expr);
  Value evaluate_dict(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_call(const Expr& expr, const Value* caller);
  Value evaluate_filter(const Expr& expr, const Value* input);
  Value evaluate_test(const Expr& expr);
  Value evaluate_concat(const Expr& expr);
  Value evaluate_compare(const Expr& expr);
  bool compare(std::string_view op, const Value& a, const Value& b);
  Value evaluate_sign(const Expr& expr);
  Args evaluate_arguments(const Arguments& arguments);
  Value loop_attribute(Loop& loop, std::string_view name);

  const Program& program_;
  Heap& heap_;
  int64_t now_;
  Scope* scope_ = nullptr;
  TextBuilder* out_ = nullptr;
  std::vector<Block> blocks_;
  int32_t message_ = -1;  // that the innermost loop over messages is at
  int line_ = 1;
  int depth_ = 0;
};

/// a + b, a % b, ... as Python does them.
Value binary_operation(Heap& heap, std::string_view op, const Value& a, const Value& b);
/// s[start:stop:step] of strings, lists, tuples and ranges; None bounds are open.
Value slice_value(Heap& heap, const Value& value, const Value& start, const Value& stop,
                  const Value& step);

}  // namespace pivot::chat::jinja
