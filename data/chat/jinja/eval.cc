#include "data/chat/jinja/eval.h"

#include <cmath>
#include <ctime>
#include <limits>

#include "data/chat/jinja/lexer.h"
#include "data/chat/jinja/library.h"
#include "src/base/check.h"

namespace pivot::chat::jinja {
namespace {

using E = Expression::Kind;
using S = Statement::Kind;

// Far above what any chat template needs for a conversation of a megabyte.
constexpr int64_t kMaxSteps = 20'000'000;
constexpr size_t kMaxOutput = size_t{256} << 20;
constexpr int kMaxCalls = 60;
constexpr int64_t kMaxRange = 1'000'000;

enum class Flow { Next, Break, Continue };

class Runner {
 public:
  Runner(const Dict& variables, int64_t now) : now_(now) {
    scopes_.push_back(variables);
    add_functions();
  }

  Output run(const Body& body) {
    scopes_.emplace_back();
    execute(body);
    return std::move(out_);
  }

 private:
  struct Scope {  // a level of names, gone at its end
    explicit Scope(Runner& r) : runner(r) { runner.scopes_.emplace_back(); }
    ~Scope() { runner.scopes_.pop_back(); }
    Runner& runner;
  };

  void add_functions() {
    Dict& globals = scopes_.front();
    globals.set(
        "raise_exception", Value::function([](Arguments& a) -> Value {
          throw TypeError{"the template refuses this conversation: " +
                          (a.positional.empty() ? std::string() : to_text(a.positional[0]).bytes)};
        }));
    globals.set("namespace", Value::function([](Arguments& a) {
                  Dict d;
                  for (auto& [k, v] : a.named) d.set(k, v);
                  return Value::dict(std::move(d));
                }));
    globals.set("dict", Value::function([](Arguments& a) {
                  Dict d;
                  for (auto& [k, v] : a.named) d.set(k, v);
                  return Value::dict(std::move(d));
                }));
    globals.set("range", Value::function([](Arguments& a) {
                  const auto& p = a.positional;
                  if (p.empty() || p.size() > 3)
                    throw TypeError{"range needs one to three numbers"};
                  const int64_t begin = p.size() > 1 ? p[0].whole() : 0;
                  const int64_t end = p.size() > 1 ? p[1].whole() : p[0].whole();
                  const int64_t step = p.size() > 2 ? p[2].whole() : 1;
                  if (step == 0) throw TypeError{"range with step 0"};
                  List l;
                  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
                    l.push_back(Value::integer(i));
                    if (static_cast<int64_t>(l.size()) > kMaxRange)
                      throw TypeError{"range is too long"};
                  }
                  return Value::list(std::move(l));
                }));
    globals.set("strftime_now", Value::function([now = now_](Arguments& a) {
                  if (a.positional.empty()) throw TypeError{"strftime_now needs a format"};
                  const std::time_t time = static_cast<std::time_t>(now);
                  std::tm parts{};
                  ::gmtime_r(&time, &parts);
                  char buffer[256];
                  const size_t n = std::strftime(buffer, sizeof buffer,
                                                 to_text(a.positional[0]).bytes.c_str(), &parts);
                  return Value::text(Text(std::string(buffer, n)));
                }));
  }

  void step(int line) {
    if (++steps_ > kMaxSteps) fail_at(line, "the template runs too long");
  }
  void write(const Text& text, int line) {
    if (out_.text.bytes.size() + text.bytes.size() > kMaxOutput)
      fail_at(line, "the template writes too much");
    out_.text.append(text);
  }

  const Value* find(std::string_view name) const {
    for (size_t i = scopes_.size(); i-- > 0;) {
      if (const Value* v = scopes_[i].find(name)) return v;
    }
    return nullptr;
  }

  Flow execute(const Body& body) {
    for (const Statement& s : body) {
      const Flow flow = execute(s);
      if (flow != Flow::Next) return flow;
    }
    return Flow::Next;
  }

  Flow execute(const Statement& s) {
    step(s.line);
    try {
      return dispatch(s);
    } catch (const TypeError& e) {
      fail_at(s.line, e.what);
    }
  }

  Flow dispatch(const Statement& s) {
    switch (s.kind) {
      case S::Text:
        write(Text(s.text), s.line);
        return Flow::Next;
      case S::Output:
        write(to_text(evaluate(*s.expression)), s.line);
        return Flow::Next;
      case S::If:
        return execute(evaluate(*s.expression).truthy() ? s.body : s.otherwise);
      case S::For:
        return loop(s);
      case S::Set:
        set(s);
        return Flow::Next;
      case S::SetBlock: {
        assign(s.targets[0], Value::text(captured(s.body)));
        return Flow::Next;
      }
      case S::Macro:
        scopes_.back().set(s.text, macro(s));
        return Flow::Next;
      case S::Break:
        return Flow::Break;
      case S::Continue:
        return Flow::Continue;
      case S::Generation: {
        const size_t begin = out_.text.bytes.size();
        const Flow flow = execute(s.body);
        out_.generation.push_back({begin, out_.text.bytes.size()});
        return flow;
      }
    }
    return Flow::Next;
  }

  // What the body writes, instead of writing it.
  Text captured(const Body& body) {
    Output outer = std::exchange(out_, {});
    try {
      Scope scope(*this);
      execute(body);
    } catch (...) {
      out_ = std::move(outer);
      throw;
    }
    return std::exchange(out_, std::move(outer)).text;
  }

  void assign(const std::string& target, Value value) {
    const size_t dot = target.find('.');
    if (dot == std::string::npos) {
      scopes_.back().set(target, std::move(value));
      return;
    }
    const Value* object = find(target.substr(0, dot));
    if (object == nullptr || object->as_dict() == nullptr) {
      throw TypeError{fmt::format("'{}' is no namespace", target.substr(0, dot))};
    }
    object->as_dict()->set(target.substr(dot + 1), std::move(value));
  }

  void set(const Statement& s) {
    Value value = evaluate(*s.expression);
    if (s.targets.size() == 1) return assign(s.targets[0], std::move(value));
    unpack(s.targets, value);
  }

  void unpack(const std::vector<std::string>& targets, const Value& value) {
    const List parts = elements(value);
    if (parts.size() != targets.size()) {
      throw TypeError{fmt::format("{} values for {} names", parts.size(), targets.size())};
    }
    for (size_t i = 0; i < parts.size(); ++i) assign(targets[i], parts[i]);
  }

  Flow loop(const Statement& s) {
    List all = elements(evaluate(*s.expression));
    if (s.filter) {
      List kept;
      for (const Value& v : all) {
        Scope scope(*this);
        bind(s.targets, v);
        if (evaluate(*s.filter).truthy()) kept.push_back(v);
      }
      all = std::move(kept);
    }
    if (all.empty()) return execute(s.otherwise);
    const auto size = static_cast<int64_t>(all.size());
    for (int64_t i = 0; i < size; ++i) {
      step(s.line);
      Scope scope(*this);
      Dict loop;
      loop.set("index", Value::integer(i + 1));
      loop.set("index0", Value::integer(i));
      loop.set("revindex", Value::integer(size - i));
      loop.set("revindex0", Value::integer(size - i - 1));
      loop.set("first", Value::boolean(i == 0));
      loop.set("last", Value::boolean(i + 1 == size));
      loop.set("length", Value::integer(size));
      if (i > 0) loop.set("previtem", all[static_cast<size_t>(i - 1)]);
      if (i + 1 < size) loop.set("nextitem", all[static_cast<size_t>(i + 1)]);
      scopes_.back().set("loop", Value::dict(std::move(loop)));
      bind(s.targets, all[static_cast<size_t>(i)]);
      if (execute(s.body) == Flow::Break) break;
    }
    return Flow::Next;
  }

  void bind(const std::vector<std::string>& targets, const Value& value) {
    if (targets.size() == 1) {
      scopes_.back().set(targets[0], value);
    } else {
      unpack(targets, value);
    }
  }

  Value macro(const Statement& s) {
    return Value::function([this, &s](Arguments& a) {
      if (++calls_ > kMaxCalls) throw TypeError{"macros call one another too deeply"};
      const size_t parameters = s.targets.size();
      if (a.positional.size() > parameters)
        throw TypeError{fmt::format("macro {} takes {} arguments", s.text, parameters)};
      Dict given;
      for (size_t i = 0; i < parameters; ++i) {
        const Value* v = argument(a, i, s.targets[i]);
        const size_t without = parameters - s.defaults.size();
        if (v != nullptr) {
          given.set(s.targets[i], *v);
        } else {
          given.set(s.targets[i], i >= without ? evaluate(*s.defaults[i - without])
                                               : Value(Undefined{s.targets[i]}));
        }
      }
      scopes_.push_back(std::move(given));
      Text text = captured(s.body);
      scopes_.pop_back();
      --calls_;
      return Value::text(std::move(text));
    });
  }

  Value evaluate(const Expression& e) {
    step(e.line);
    switch (e.kind) {
      case E::Literal:
        return e.value;
      case E::Name: {
        const Value* v = find(e.name);
        return v != nullptr ? *v : Value(Undefined{e.name});
      }
      case E::Sequence: {
        List l;
        for (const ExpressionPtr& c : e.children) l.push_back(evaluate(*c));
        return Value::list(std::move(l));
      }
      case E::Mapping: {
        Dict d;
        for (size_t i = 0; i < e.children.size(); i += 2) {
          d.set(to_text(evaluate(*e.children[i])).bytes, evaluate(*e.children[i + 1]));
        }
        return Value::dict(std::move(d));
      }
      case E::Attribute:
        return attribute_of(e);
      case E::Item:
        return item(evaluate(*e.children[0]), evaluate(*e.children[1]));
      case E::Slice: {
        Value parts[4];
        const Value* given[4] = {};
        for (size_t i = 0; i < 4; ++i) {
          if (!e.children[i]) continue;
          parts[i] = evaluate(*e.children[i]);
          given[i] = &parts[i];
        }
        return slice(parts[0], given[1], given[2], given[3]);
      }
      case E::Call:
        return call(e);
      case E::Filter: {
        const Value value = evaluate(*e.children[0]);
        Arguments a = arguments(e);
        return apply_filter(e.name, value, a);
      }
      case E::Test: {
        const Value value = evaluate(*e.children[0]);
        return Value::boolean(apply_test(e.name, value, arguments(e)) != e.negated);
      }
      case E::Unary:
        return unary(e);
      case E::Binary:
        return binary(e);
      case E::Compare:
        return comparison(e);
      case E::Choice:
        if (evaluate(*e.children[1]).truthy()) return evaluate(*e.children[0]);
        return e.children[2] ? evaluate(*e.children[2]) : Value();
    }
    return {};
  }

  Value attribute_of(const Expression& e) {
    const Value object = evaluate(*e.children[0]);
    Value v = attribute(object, e.name);
    // `x.items is defined` and the like: a method is a value, too.
    if (v.undefined() && known_method(object, e.name)) {
      return Value::function([object, name = e.name](Arguments& a) {
        Value result;
        call_method(object, name, a, result);
        return result;
      });
    }
    return v;
  }

  Arguments arguments(const Expression& e) {
    Arguments a;
    for (size_t i = 1; i < e.children.size(); ++i) a.positional.push_back(evaluate(*e.children[i]));
    for (const auto& [name, value] : e.named) a.named.emplace_back(name, evaluate(*value));
    return a;
  }

  Value call(const Expression& e) {
    const Expression& callee = *e.children[0];
    if (callee.kind == E::Attribute) {
      const Value object = evaluate(*callee.children[0]);
      Arguments a = arguments(e);
      // A method comes before a key of that name, as Jinja looks for attributes first.
      Value result;
      if (call_method(object, callee.name, a, result)) return result;
      const List* list = object.as_list();
      if (list != nullptr && callee.name == "append")
        throw TypeError{"lists cannot be changed here (sandbox)"};
      const Value v = attribute(object, callee.name);
      if (const auto* f = v.as<std::shared_ptr<Function>>()) return (**f)(a);
      throw TypeError{fmt::format("{} has no method '{}'", object.type_name(), callee.name)};
    }
    const Value f = evaluate(callee);
    Arguments a = arguments(e);
    if (const auto* function = f.as<std::shared_ptr<Function>>()) return (**function)(a);
    if (f.undefined())
      throw TypeError{
          fmt::format("'{}' is undefined and cannot be called", f.as<Undefined>()->name)};
    throw TypeError{fmt::format("{} cannot be called", f.type_name())};
  }

  Value unary(const Expression& e) {
    const Value v = evaluate(*e.children[0]);
    if (e.name == "not") return Value::boolean(!v.truthy());
    if (v.as<double>() != nullptr) return Value::Data(e.name == "-" ? -v.number() : v.number());
    return Value::integer(e.name == "-" ? -v.whole() : v.whole());
  }

  Value comparison(const Expression& e) {
    Value left = evaluate(*e.children[0]);
    for (size_t i = 0; i < e.operators.size(); ++i) {
      Value right = evaluate(*e.children[i + 1]);
      const std::string& op = e.operators[i];
      bool holds = false;
      if (op == "==") {
        holds = equal(left, right);
      } else if (op == "!=") {
        holds = !equal(left, right);
      } else if (op == "in") {
        holds = contains(right, left);
      } else if (op == "not in") {
        holds = !contains(right, left);
      } else {
        const int c = compare(left, right);
        holds = op == "<" ? c < 0 : op == "<=" ? c <= 0 : op == ">" ? c > 0 : c >= 0;
      }
      if (!holds) return Value::boolean(false);
      left = std::move(right);
    }
    return Value::boolean(true);
  }

  Value binary(const Expression& e) {
    if (e.name == "and" || e.name == "or") {
      Value left = evaluate(*e.children[0]);
      return left.truthy() == (e.name == "or") ? left : evaluate(*e.children[1]);
    }
    const Value left = evaluate(*e.children[0]), right = evaluate(*e.children[1]);
    if (e.name == "~") {
      Text t = to_text(left);
      t.append(to_text(right));
      return bounded(std::move(t), e.line);
    }
    if (e.name == "+" && left.as_text() && right.as_text()) {
      Text t = *left.as_text();
      t.append(*right.as_text());
      return bounded(std::move(t), e.line);
    }
    if (e.name == "+" && left.as_list() && right.as_list()) {
      List l = *left.as_list();
      l.insert(l.end(), right.as_list()->begin(), right.as_list()->end());
      steps_ += static_cast<int64_t>(l.size());
      return Value::list(std::move(l));
    }
    if (e.name == "*" && (left.as_text() || right.as_text())) {
      const Text& t = left.as_text() ? *left.as_text() : *right.as_text();
      const int64_t times = left.as_text() ? right.whole() : left.whole();
      Text out;
      for (int64_t i = 0; i < times; ++i) {
        out.append(t);
        if (out.bytes.size() > kMaxOutput) fail_at(e.line, "the template writes too much");
        step(e.line);
      }
      return Value::text(std::move(out));
    }
    if (!left.is_number() || !right.is_number()) {
      throw TypeError{
          fmt::format("{} {} {} is not possible", left.type_name(), e.name, right.type_name())};
    }
    return arithmetic(e.name, left, right);
  }

  Value bounded(Text t, int line) {
    if (t.bytes.size() > kMaxOutput) fail_at(line, "the template writes too much");
    steps_ += static_cast<int64_t>(t.bytes.size() >> 10);
    return Value::text(std::move(t));
  }

  static Value arithmetic(const std::string& op, const Value& left, const Value& right) {
    const bool real = left.as<double>() != nullptr || right.as<double>() != nullptr;
    if (op != "+" && op != "-" && op != "*" && op != "**" && right.number() == 0)
      throw TypeError{"division by zero"};
    if (op == "/") return Value::Data(left.number() / right.number());
    if (op == "**" || real) {
      const double a = left.number(), b = right.number();
      const double r = op == "+"    ? a + b
                       : op == "-"  ? a - b
                       : op == "*"  ? a * b
                       : op == "//" ? std::floor(a / b)
                       : op == "%"  ? a - b * std::floor(a / b)
                                    : std::pow(a, b);
      const bool whole = !real && b >= 0 && std::fabs(r) < 9e15;
      if (!real && !whole) throw TypeError{"the number is too large"};
      return whole ? Value::integer(static_cast<int64_t>(r)) : Value(Value::Data(r));
    }
    const int64_t a = left.whole(), b = right.whole();
    int64_t r = 0;
    bool overflow = false;
    if (op == "+") overflow = __builtin_add_overflow(a, b, &r);
    if (op == "-") overflow = __builtin_sub_overflow(a, b, &r);
    if (op == "*") overflow = __builtin_mul_overflow(a, b, &r);
    if (op == "//" || op == "%") {
      if (a == std::numeric_limits<int64_t>::min()) throw TypeError{"the number is too large"};
      const int64_t rest = a % b;
      const bool down = rest != 0 && (rest < 0) != (b < 0);
      r = op == "%" ? (down ? rest + b : rest) : a / b - (down ? 1 : 0);
    }
    if (overflow) throw TypeError{"the number is too large"};
    return Value::integer(r);
  }

  std::vector<Dict> scopes_;
  Output out_;
  int64_t now_;
  int64_t steps_ = 0;
  int calls_ = 0;
};

}  // namespace

Output run_template(const Body& body, const Dict& variables, int64_t now) {
  return Runner(variables, now).run(body);
}

}  // namespace pivot::chat::jinja
