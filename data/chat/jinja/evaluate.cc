// Expressions: what each node gives.
#include <algorithm>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/jinja/text.h"

namespace pivot::chat::jinja {

void Renderer::fail_undefined(const Value& value) {
  const auto* info = static_cast<const UndefinedInfo*>(value.object);
  fail("{}", info != nullptr ? info->message : "an undefined value is used");
}

Value Renderer::evaluate(const Expr& expr) {
  const Level level(depth_, heap_);
  line_ = expr.line;
  Value value = evaluate_kind(expr);
  line_ = expr.line;
  return value;
}

Value Renderer::evaluate_kind(const Expr& expr) {
  const auto operand = [&](size_t i) { return evaluate(*expr.operands[i]); };
  switch (expr.kind) {
    case ExprKind::Constant:
      return expr.constant;
    case ExprKind::Name:
      return lookup(expr.name);
    case ExprKind::List:
    case ExprKind::Tuple:
      return evaluate_list(expr);
    case ExprKind::Dict:
      return evaluate_dict(expr);
    case ExprKind::Attribute:
      return attribute(operand(0), expr.name);
    case ExprKind::Item: {
      const Value value = operand(0);
      return item(value, operand(1));
    }
    case ExprKind::Slice:
      return evaluate_slice(expr);
    case ExprKind::Call:
      return evaluate_call(expr, nullptr);
    case ExprKind::Filter:
      return evaluate_filter(expr, nullptr);
    case ExprKind::Test:
      return evaluate_test(expr);
    case ExprKind::Conditional:
      if (truthy(operand(0))) return operand(1);
      if (expr.operands[2]) return operand(2);
      return heap_.undefined("the inline if-expression was false and has no else");
    case ExprKind::And: {
      const Value left = operand(0);
      return truthy(left) ? operand(1) : left;
    }
    case ExprKind::Or: {
      const Value left = operand(0);
      return truthy(left) ? left : operand(1);
    }
    case ExprKind::Not:
      return boolean(!truthy(operand(0)));
    case ExprKind::Negative:
    case ExprKind::Positive:
      return evaluate_sign(expr);
    case ExprKind::Binary: {
      const Value left = operand(0);
      const Value right = operand(1);
      line_ = expr.line;
      return binary_operation(heap_, expr.name, left, right);
    }
    case ExprKind::Concat:
      return evaluate_concat(expr);
    case ExprKind::Compare:
      return evaluate_compare(expr);
  }
  return {};
}

Value Renderer::lookup(const std::string& name) {
  if (const Value* value = scope_->find(name); value != nullptr) return *value;
  if (const Builtin* builtin = find_function(name); builtin != nullptr) {
    Function* function = heap_.make<Function>();
    function->builtin = builtin;
    return handle(Kind::Function, function);
  }
  return heap_.undefined(fmt::format("'{}' is undefined", name));
}

Value Renderer::evaluate_list(const Expr& expr) {
  std::vector<Value> items;
  for (const ExprPtr& operand : expr.operands) items.push_back(evaluate(*operand));
  return expr.kind == ExprKind::List ? heap_.list(std::move(items)) : heap_.tuple(std::move(items));
}

Value Renderer::evaluate_dict(const Expr& expr) {
  Dict* dict = heap_.make<Dict>();
  for (size_t i = 0; i + 1 < expr.operands.size(); i += 2) {
    const Value key = evaluate(*expr.operands[i]);
    if (key.is(Kind::List) || key.is(Kind::Dict)) {
      fail("unhashable type: '{}'", type_name(key));
    }
    dict->set(key, evaluate(*expr.operands[i + 1]));
  }
  return handle(Kind::Dict, dict);
}

Value Renderer::evaluate_slice(const Expr& expr) {
  const Value value = evaluate(*expr.operands[0]);
  Value bounds[3] = {none(), none(), none()};
  for (size_t i = 0; i < 3; ++i) {
    if (expr.operands[i + 1]) bounds[i] = evaluate(*expr.operands[i + 1]);
  }
  return slice_value(heap_, value, bounds[0], bounds[1], bounds[2]);
}

Args Renderer::evaluate_arguments(const Arguments& arguments) {
  Args args;
  for (const ExprPtr& expr : arguments.positional) args.positional.push_back(evaluate(*expr));
  for (const auto& [name, expr] : arguments.named) args.named.emplace_back(name, evaluate(*expr));
  if (arguments.star) {
    const Value more = evaluate(*arguments.star);
    for (const Value& value : iterate(heap_, more)) args.positional.push_back(value);
  }
  if (arguments.star_star) {
    const Value more = evaluate(*arguments.star_star);
    if (!more.is(Kind::Dict)) fail("what follows '**' must be a mapping, not {}", type_name(more));
    for (const auto& [key, value] : more.as<Dict>().entries) {
      if (!key.is(Kind::String)) fail("keywords must be strings");
      args.named.emplace_back(text_of(key), value);
    }
  }
  return args;
}

Value Renderer::evaluate_call(const Expr& expr, const Value* caller) {
  const Value target = evaluate(*expr.operands[0]);
  Args args = evaluate_arguments(expr.arguments);
  if (caller != nullptr) args.named.emplace_back("caller", *caller);
  line_ = expr.line;
  return call(target, args);
}

Value Renderer::call(const Value& callee, const Args& args) {
  switch (callee.kind) {
    case Kind::Macro:
      return call_macro(callee.as<Macro>(), args);
    case Kind::Function:
      return callee.as<Function>().builtin->call(*this, Value(), args);
    case Kind::Method: {
      const Method& method = callee.as<Method>();
      return call_method(*this, method.self, method.name, args);
    }
    case Kind::Undefined:
      fail_undefined(callee);
    default:
      fail("a {} is not callable", type_name(callee));
  }
}

Value Renderer::evaluate_filter(const Expr& expr, const Value* input) {
  const Expr* inner = expr.operands[0].get();
  const Value self = inner == nullptr ? *input
                     : input != nullptr && inner->kind == ExprKind::Filter
                         ? evaluate_filter(*inner, input)
                         : evaluate(*inner);
  const Args args = evaluate_arguments(expr.arguments);
  line_ = expr.line;
  return expr.builtin->call(*this, self, args);
}

Value Renderer::evaluate_test(const Expr& expr) {
  const Value self = evaluate(*expr.operands[0]);
  const Args args = evaluate_arguments(expr.arguments);
  line_ = expr.line;
  return expr.builtin->call(*this, self, args);
}

Value Renderer::evaluate_concat(const Expr& expr) {
  TextBuilder out;
  for (const ExprPtr& operand : expr.operands) print(evaluate(*operand), out);
  return out.finish(heap_);
}

Value Renderer::evaluate_compare(const Expr& expr) {
  Value left = evaluate(*expr.operands[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    const Value right = evaluate(*expr.operands[i + 1]);
    line_ = expr.line;
    if (!compare(expr.ops[i], left, right)) return boolean(false);
    left = right;
  }
  return boolean(true);
}

bool Renderer::compare(std::string_view op, const Value& a, const Value& b) {
  if (a.is(Kind::String)) heap_.charge_text(text_of(a).size());
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  if (op == "<") return less(a, b, op);
  if (op == ">") return less(b, a, op);
  if (op == "<=") return equal(a, b) ? (less(a, b, op), true) : less(a, b, op);
  return equal(a, b) ? (less(b, a, op), true) : less(b, a, op);
}

bool Renderer::contains(const Value& container, const Value& value) {
  switch (container.kind) {
    case Kind::Undefined:
      return false;
    case Kind::String: {
      if (value.is(Kind::Undefined)) fail_undefined(value);
      if (!value.is(Kind::String)) {
        fail("'in <string>' requires string as left operand, not {}", type_name(value));
      }
      heap_.charge_text(text_of(container).size());
      return text_of(container).find(text_of(value)) != std::string_view::npos;
    }
    case Kind::Dict:
      return container.as<Dict>().find(value) != nullptr;
    default:
      break;
  }
  const std::vector<Value> items = iterate(heap_, container);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, value); });
}

Value Renderer::evaluate_sign(const Expr& expr) {
  const Value value = evaluate(*expr.operands[0]);
  const bool negative = expr.kind == ExprKind::Negative;
  if (value.is(Kind::Undefined)) fail_undefined(value);
  if (value.is(Kind::Float)) return number(negative ? -value.number : value.number);
  if (value.is(Kind::Int) || value.is(Kind::Bool)) {
    const int64_t i = value.is(Kind::Bool) ? (value.boolean ? 1 : 0) : value.integer;
    if (i == INT64_MIN) fail("an integer beyond 64 bits");
    return integer(negative ? -i : i);
  }
  fail("bad operand type for unary {}: '{}'", negative ? "-" : "+", type_name(value));
}

Value Renderer::attribute(const Value& value, std::string_view name) {
  switch (value.kind) {
    case Kind::Undefined:
      fail_undefined(value);
    case Kind::Namespace: {
      for (const auto& [key, v] : value.as<Namespace>().attributes) {
        if (key == name) return v;
      }
      break;
    }
    case Kind::Loop:
      return loop_attribute(value.as<Loop>(), name);
    default:
      break;
  }
  if (has_method(value, name)) return method(value, name);  // before keys, as in Python
  if (value.is(Kind::Dict)) {
    if (const Value* found = value.as<Dict>().find(name); found != nullptr) return *found;
  }
  return heap_.undefined(fmt::format("'{}' has no attribute '{}'", type_name(value), name));
}

Value Renderer::method(const Value& self, std::string_view name) {
  Method* method = heap_.make<Method>();
  method->self = self;
  method->name = name;
  return handle(Kind::Method, method);
}

Value Renderer::item(const Value& value, const Value& key) {
  if (value.is(Kind::Undefined)) fail_undefined(value);
  if (value.is(Kind::Dict)) {
    if (const Value* found = value.as<Dict>().find(key); found != nullptr) return *found;
  } else if (key.is(Kind::Int) || key.is(Kind::Bool)) {
    int64_t index = key.is(Kind::Bool) ? (key.boolean ? 1 : 0) : key.integer;
    const bool sequence = value.is(Kind::String) || value.is(Kind::List) || value.is(Kind::Tuple) ||
                          value.is(Kind::Range);
    const int64_t n = sequence ? length(value) : 0;
    if (index < 0) index += n;
    if (index >= 0 && index < n) {
      if (value.is(Kind::List) || value.is(Kind::Tuple)) {
        return value.as<List>().items[static_cast<size_t>(index)];
      }
      if (value.is(Kind::Range)) {
        return integer(value.as<Range>().start + index * value.as<Range>().step);
      }
      return slice_value(heap_, value, integer(index), integer(index + 1), none());
    }
  }
  if (key.is(Kind::String) && !value.is(Kind::Dict)) return attribute(value, text_of(key));
  if (key.is(Kind::String) && has_method(value, text_of(key)))
    return attribute(value, text_of(key));
  TextBuilder printed;
  print_repr(key, printed);
  return heap_.undefined(
      fmt::format("{} object has no element {}", type_name(value), printed.text().substr(0, 100)));
}

Value Renderer::loop_attribute(Loop& loop, std::string_view name) {
  const auto count = [&] {
    if (loop.length < 0) {  // a generator: read to its end
      Value item;
      while (loop.pull(item)) loop.pending.push_back(item);
      loop.length = loop.index0 + 1 + static_cast<int64_t>(loop.pending.size());
    }
    return loop.length;
  };
  Value item;
  if (name == "index") return integer(loop.index0 + 1);
  if (name == "index0") return integer(loop.index0);
  if (name == "first") return boolean(loop.index0 == 0);
  if (name == "last") return boolean(!loop.peek(item));
  if (name == "length") return integer(count());
  if (name == "revindex") return integer(count() - loop.index0);
  if (name == "revindex0") return integer(count() - loop.index0 - 1);
  if (name == "depth") return integer(1);
  if (name == "depth0") return integer(0);
  if (name == "previtem") {
    return loop.index0 == 0 ? heap_.undefined("there is no previous item") : loop.before;
  }
  if (name == "nextitem") {
    return loop.peek(item) ? item : heap_.undefined("there is no next item");
  }
  const Value self = handle(Kind::Loop, &loop);
  if (has_method(self, name)) return method(self, name);
  return heap_.undefined(fmt::format("'loop' has no attribute '{}'", name));
}

}  // namespace pivot::chat::jinja
