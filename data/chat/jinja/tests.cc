// What may stand behind "is".
#include <algorithm>
#include <array>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/jinja/unicode.h"

namespace pivot::chat::jinja {
namespace {

void no_arguments(std::string_view name, const Args& args) {
  const Bound bound(name, args, {});
}

const Value& one(std::string_view name, const Args& args) {
  if (args.positional.size() != 1 || !args.named.empty())
    fail("the test '{}' compares with one value", name);
  return args.positional[0];
}

template <class F>
Value plain(std::string_view name, const Args& args, F&& test) {
  no_arguments(name, args);
  return boolean(test());
}

bool iterable(const Value& v) {
  switch (v.kind) {
    case Kind::Undefined:
    case Kind::String:
    case Kind::List:
    case Kind::Tuple:
    case Kind::Dict:
    case Kind::View:
    case Kind::Range:
    case Kind::Generator:
    case Kind::Loop:
      return true;
    default:
      return false;
  }
}

bool sequence(const Value& v) {
  return iterable(v) && !v.is(Kind::View) && !v.is(Kind::Generator) && !v.is(Kind::Loop);
}

bool cased(Renderer& r, const Value& self, bool upper) {
  const Value text = to_string(r.heap(), self);
  if (!is_ascii(text_of(text))) fail("the tests 'lower' and 'upper' are only done on ASCII text");
  bool any = false;
  for (const char c : text_of(text)) {
    const bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
    if (upper ? is_lower : is_upper) return false;
    any = any || is_lower || is_upper;
  }
  return any;
}

int64_t modulo(const Value& self, const Value& by) {
  const int64_t n = to_index(self, "the value"), d = to_index(by, "the divisor");
  if (d == 0) fail("integer division or modulo by zero");
  return d == -1 ? 0 : n % d;
}

// Python's "is": objects by identity, and values as far as they are shared there.
bool same(const Value& a, const Value& b) {
  if (a.kind != b.kind) return false;
  if (a.is(Kind::Int) || a.is(Kind::Bool) || a.is(Kind::None) || a.is(Kind::Float))
    return equal(a, b);
  if (a.is(Kind::String)) return text_of(a) == text_of(b);
  return a.object == b.object;
}

template <int kOp>  // 0 ==, 1 !=, 2 <, 3 <=, 4 >, 5 >=
Value test_compare(Renderer&, const Value& self, const Args& args) {
  const Value& other = one("comparison", args);
  switch (kOp) {
    case 0:
      return boolean(equal(self, other));
    case 1:
      return boolean(!equal(self, other));
    case 2:
      return boolean(less(self, other, "<"));
    case 3:
      return boolean(!less(other, self, "<="));
    case 4:
      return boolean(less(other, self, ">"));
    default:
      return boolean(!less(self, other, ">="));
  }
}

template <Kind kKind>
Value test_kind(Renderer&, const Value& self, const Args& args) {
  return plain("type", args, [&] { return self.is(kKind); });
}

Value test_defined(Renderer&, const Value& self, const Args& args) {
  return plain("defined", args, [&] { return !self.is(Kind::Undefined); });
}
Value test_true(Renderer&, const Value& self, const Args& args) {
  return plain("true", args, [&] { return self.is(Kind::Bool) && self.boolean; });
}
Value test_false(Renderer&, const Value& self, const Args& args) {
  return plain("false", args, [&] { return self.is(Kind::Bool) && !self.boolean; });
}
Value test_integer(Renderer&, const Value& self, const Args& args) {
  return plain("integer", args, [&] { return self.is(Kind::Int) || self.is(Kind::BigInt); });
}
Value test_number(Renderer&, const Value& self, const Args& args) {
  return plain("number", args, [&] { return is_number(self) || self.is(Kind::BigInt); });
}
Value test_iterable(Renderer&, const Value& self, const Args& args) {
  return plain("iterable", args, [&] { return iterable(self); });
}
Value test_sequence(Renderer&, const Value& self, const Args& args) {
  return plain("sequence", args, [&] { return sequence(self); });
}
Value test_callable(Renderer&, const Value& self, const Args& args) {
  return plain("callable", args, [&] {
    return self.is(Kind::Macro) || self.is(Kind::Function) || self.is(Kind::Method) ||
           self.is(Kind::Loop) || self.is(Kind::Undefined);
  });
}
Value test_escaped(Renderer&, const Value& self, const Args& args) {
  return plain("escaped", args, [&] { return self.is(Kind::String) && string_of(self).markup; });
}
Value test_lower(Renderer& r, const Value& self, const Args& args) {
  return plain("lower", args, [&] { return cased(r, self, false); });
}
Value test_upper(Renderer& r, const Value& self, const Args& args) {
  return plain("upper", args, [&] { return cased(r, self, true); });
}
Value test_odd(Renderer&, const Value& self, const Args& args) {
  return plain("odd", args, [&] { return modulo(self, integer(2)) != 0; });
}
Value test_even(Renderer&, const Value& self, const Args& args) {
  return plain("even", args, [&] { return modulo(self, integer(2)) == 0; });
}
Value test_divisibleby(Renderer&, const Value& self, const Args& args) {
  return boolean(modulo(self, one("divisibleby", args)) == 0);
}
Value test_sameas(Renderer&, const Value& self, const Args& args) {
  return boolean(same(self, one("sameas", args)));
}
Value test_in(Renderer& r, const Value& self, const Args& args) {
  return boolean(r.contains(one("in", args), self));
}

constexpr Builtin kTests[] = {
    {"!=", &test_compare<1>},
    {"<", &test_compare<2>},
    {"<=", &test_compare<3>},
    {"==", &test_compare<0>},
    {">", &test_compare<4>},
    {">=", &test_compare<5>},
    {"boolean", &test_kind<Kind::Bool>},
    {"callable", &test_callable},
    {"defined", &test_defined},
    {"divisibleby", &test_divisibleby},
    {"eq", &test_compare<0>},
    {"equalto", &test_compare<0>},
    {"escaped", &test_escaped},
    {"even", &test_even},
    {"false", &test_false},
    {"float", &test_kind<Kind::Float>},
    {"ge", &test_compare<5>},
    {"greaterthan", &test_compare<4>},
    {"gt", &test_compare<4>},
    {"in", &test_in},
    {"integer", &test_integer},
    {"iterable", &test_iterable},
    {"le", &test_compare<3>},
    {"lessthan", &test_compare<2>},
    {"lower", &test_lower},
    {"lt", &test_compare<2>},
    {"mapping", &test_kind<Kind::Dict>},
    {"ne", &test_compare<1>},
    {"none", &test_kind<Kind::None>},
    {"number", &test_number},
    {"odd", &test_odd},
    {"sameas", &test_sameas},
    {"sequence", &test_sequence},
    {"string", &test_kind<Kind::String>},
    {"true", &test_true},
    {"undefined", &test_kind<Kind::Undefined>},
    {"upper", &test_upper},
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  const auto found = std::find_if(std::begin(kTests), std::end(kTests),
                                  [name](const Builtin& b) { return b.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace pivot::chat::jinja
