#include "data/chat/jinja/renderer.h"

#include <algorithm>
#include <new>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/lexer.h"
#include "src/base/check.h"

namespace pivot::chat::jinja {

/// A scope within another for as long as it lives.
class Renderer::InScope {
 public:
  InScope(Renderer& renderer, Scope* parent) : renderer_(renderer), outer_(renderer.scope_) {
    scope_ = renderer.heap_.make<Scope>();
    scope_->parent = parent;
    renderer.scope_ = scope_;
  }
  ~InScope() { renderer_.scope_ = outer_; }
  InScope(const InScope&) = delete;
  InScope& operator=(const InScope&) = delete;
  Scope& operator*() { return *scope_; }
  Scope* operator->() { return scope_; }

 private:
  Renderer& renderer_;
  Scope* outer_;
  Scope* scope_;
};

const Value* Scope::find(std::string_view name) const {
  for (const Scope* s = this; s != nullptr; s = s->parent) {
    for (const auto& [key, value] : s->variables) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

void Scope::set(std::string_view name, const Value& value) {
  for (auto& [key, old] : variables) {
    if (key == name) {
      old = value;
      return;
    }
  }
  variables.emplace_back(name, value);
}

Output Renderer::run(std::vector<std::pair<std::string, Value>> variables) {
  Output output;
  out_ = &output.text;
  try {
    InScope globals(*this, nullptr);
    for (const auto& [name, value] : variables) globals->set(name, value);
    InScope top(*this, scope_);
    run_body(program_.body);
  } catch (const Failure& failure) {
    const auto at = static_cast<size_t>(line_) - 1;
    std::string text = at < program_.lines.size() ? program_.lines[at] : "";
    constexpr size_t kShown = 100;
    if (text.size() > kShown) text = text.substr(0, kShown) + "...";
    throw_user("chat template, line {}: {}\n  {}", line_, failure.what(),
               text.substr(std::min(text.find_first_not_of(" \t"), text.size())));
  }
  output.blocks = blocks_;
  return output;
}

Renderer::Flow Renderer::run_body(const Body& body) {
  for (const auto& stmt : body) {
    const Flow flow = run_statement(*stmt);
    if (flow != Flow::Normal) return flow;
  }
  return Flow::Normal;
}

Renderer::Flow Renderer::run_statement(const Stmt& stmt) {
  const Level level(depth_, heap_);
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::Text:
      out_->append(string_of(stmt.constant));
      break;
    case StmtKind::Output: {
      const Value value = evaluate(*stmt.value);
      print(value, *out_);
      if (value.is(Kind::String)) heap_.charge_text(text_of(value).size());
      break;
    }
    case StmtKind::If:
      return run_if(stmt);
    case StmtKind::For:
      return run_for(stmt);
    case StmtKind::Set:
    case StmtKind::SetBlock:
      run_set(stmt);
      break;
    case StmtKind::Macro:
      scope_->set(stmt.name, make_macro(stmt));
      break;
    case StmtKind::CallBlock:
      run_call_block(stmt);
      break;
    case StmtKind::Filter: {
      const Value text = capture(stmt.body);
      print(evaluate_filter(*stmt.filter, &text), *out_);
      break;
    }
    case StmtKind::With:
      return run_with(stmt);
    case StmtKind::Generation:
      run_generation(stmt);
      break;
    case StmtKind::Break:
      return Flow::Break;
    case StmtKind::Continue:
      return Flow::Continue;
  }
  return Flow::Normal;
}

Renderer::Flow Renderer::run_if(const Stmt& stmt) {
  for (const auto& [test, body] : stmt.branches) {
    if (truthy(evaluate(*test))) return run_body(body);
  }
  return run_body(stmt.orelse);
}

// Items one by one: a condition is asked when its item is due, as in Python's generators.
std::function<bool(Value&)> Renderer::loop_items(const Stmt& stmt, const Value& iterable) {
  auto items = std::make_shared<std::vector<Value>>();
  Generator* generator = iterable.is(Kind::Generator) ? &iterable.as<Generator>() : nullptr;
  if (generator == nullptr) *items = iterate(heap_, iterable);
  auto at = std::make_shared<size_t>(0);
  std::function<bool(Value&)> next = [items, generator, at](Value& item) {
    const std::vector<Value>& all = generator != nullptr ? generator->items : *items;
    size_t& i = generator != nullptr ? generator->at : *at;
    if (i >= all.size()) return false;
    item = all[i++];
    return true;
  };
  if (!stmt.test) return next;
  Scope* outer = scope_;
  return [this, next, outer, &stmt](Value& item) {
    while (next(item)) {
      InScope inner(*this, outer);
      assign(stmt.target, item);
      if (truthy(evaluate(*stmt.test))) return true;
    }
    return false;
  };
}

Renderer::Flow Renderer::run_for(const Stmt& stmt) {
  const Value iterable = evaluate(*stmt.value);
  Loop* loop = heap_.make<Loop>();
  loop->pull = loop_items(stmt, iterable);
  if (!stmt.test && !iterable.is(Kind::Generator) && !iterable.is(Kind::Loop)) {
    loop->length = length(iterable);
  }
  const int32_t outer_message = message_;
  Scope* outer = scope_;
  bool finished = false;  // an iteration reached its end; jinja2 asks that, not whether one began
  InScope inner(*this, outer);
  Value item;
  while (loop->next(item)) {
    heap_.charge(4);
    inner->variables.clear();
    inner->set("loop", handle(Kind::Loop, loop));
    assign(stmt.target, item);
    if (item.is(Kind::Dict) && item.as<Dict>().message >= 0) message_ = item.as<Dict>().message;
    const Flow flow = run_body(stmt.body);
    message_ = outer_message;
    if (flow == Flow::Break) break;
    if (flow == Flow::Normal) finished = true;
  }
  if (finished) return Flow::Normal;
  inner->variables.clear();
  return run_body(stmt.orelse);
}

Renderer::Flow Renderer::run_with(const Stmt& stmt) {
  std::vector<Value> values;
  for (const auto& [target, expr] : stmt.bindings) values.push_back(evaluate(*expr));
  InScope inner(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) assign(stmt.bindings[i].first, values[i]);
  return run_body(stmt.body);
}

void Renderer::run_set(const Stmt& stmt) {
  if (stmt.kind == StmtKind::Set) {
    assign(stmt.target, evaluate(*stmt.value));
    return;
  }
  Value text = capture(stmt.body);
  if (stmt.filter) text = evaluate_filter(*stmt.filter, &text);
  assign(stmt.target, text);
}

Value Renderer::capture(const Body& body) {
  TextBuilder text;
  TextBuilder* outer = out_;
  out_ = &text;
  InScope inner(*this, scope_);
  run_body(body);
  out_ = outer;
  return text.finish(heap_);
}

void Renderer::run_generation(const Stmt& stmt) {
  blocks_.push_back({message_});
  const auto number = static_cast<int32_t>(blocks_.size());
  const Value text = capture(stmt.body);
  TextBuilder marked;
  marked.append(string_of(text));
  marked.mark_block(number);
  out_->append(string_of(marked.finish(heap_)));
}

void Renderer::assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    if (value.is(Kind::Undefined)) fail_undefined(value);
    const std::vector<Value> items = iterate(heap_, value);
    if (items.size() != target.several.size()) {
      fail("{} values to unpack into {} names", items.size(), target.several.size());
    }
    for (size_t i = 0; i < items.size(); ++i) assign(target.several[i], items[i]);
    return;
  }
  if (target.attribute.empty()) {
    scope_->set(target.name, value);
    return;
  }
  const Value space = lookup(target.name);
  if (!space.is(Kind::Namespace)) fail("cannot assign attribute on non-namespace object");
  auto& attributes = space.as<Namespace>().attributes;
  const auto known = std::find_if(attributes.begin(), attributes.end(),
                                  [&](const auto& a) { return a.first == target.attribute; });
  if (known != attributes.end()) {
    known->second = value;
  } else {
    attributes.emplace_back(target.attribute, value);
  }
}

Value Renderer::make_macro(const Stmt& stmt) {
  Macro* macro = heap_.make<Macro>();
  macro->definition = &stmt;
  macro->scope = scope_;
  return handle(Kind::Macro, macro);
}

void Renderer::bind_parameters(const Stmt& definition, const Args& args) {
  const auto& parameters = definition.parameters;
  std::vector<bool> used(args.named.size());
  const size_t positional = std::min(args.positional.size(), parameters.size());
  for (size_t i = 0; i < positional; ++i) scope_->set(parameters[i].name, args.positional[i]);
  for (size_t i = positional; i < parameters.size(); ++i) {
    const std::string& name = parameters[i].name;
    const auto given = std::find_if(args.named.begin(), args.named.end(),
                                    [&](const auto& a) { return a.first == name; });
    if (given != args.named.end()) {
      used[static_cast<size_t>(given - args.named.begin())] = true;
      scope_->set(name, given->second);
    } else if (parameters[i].fallback) {
      scope_->set(name, evaluate(*parameters[i].fallback));
    } else {
      scope_->set(name, heap_.undefined(fmt::format("parameter '{}' was not provided", name)));
    }
  }
  Dict* surplus = heap_.make<Dict>();
  for (size_t i = 0; i < args.named.size(); ++i) {
    const auto& [name, value] = args.named[i];
    if (used[i]) continue;
    if (name == "caller" && definition.takes_caller) {
      scope_->set("caller", value);
    } else if (definition.takes_kwargs) {
      surplus->set(heap_.text(name), value);
    } else {
      fail("macro '{}' takes no keyword argument '{}'", definition.name, name);
    }
  }
  if (definition.takes_caller && definition.kind == StmtKind::Macro &&
      std::none_of(args.named.begin(), args.named.end(),
                   [](const auto& a) { return a.first == "caller"; })) {
    scope_->set("caller", heap_.undefined("no caller defined"));
  }
  if (definition.takes_kwargs) scope_->set("kwargs", handle(Kind::Dict, surplus));
  if (definition.takes_varargs) {
    scope_->set("varargs",
                heap_.tuple({args.positional.begin() + static_cast<ptrdiff_t>(positional),
                             args.positional.end()}));
  } else if (args.positional.size() > parameters.size()) {
    fail("macro '{}' takes not more than {} arguments", definition.name, parameters.size());
  }
}

Value Renderer::call_macro(const Macro& macro, const Args& args) {
  InScope inner(*this, macro.scope);
  const int line = line_;
  bind_parameters(*macro.definition, args);
  const Value text = capture(macro.definition->body);
  line_ = line;
  return text;
}

void Renderer::run_call_block(const Stmt& stmt) {
  const Value caller = make_macro(stmt);
  print(evaluate_call(*stmt.value, &caller), *out_);
}

}  // namespace pivot::chat::jinja
