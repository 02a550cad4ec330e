// Arithmetic and slices.
#include <algorithm>
#include <cmath>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/jinja/text.h"
#include "data/chat/jinja/unicode.h"

namespace pivot::chat::jinja {
namespace {

bool is_whole(const Value& v) {
  return v.is(Kind::Int) || v.is(Kind::Bool);
}

int64_t whole(const Value& v) {
  return v.is(Kind::Bool) ? static_cast<int64_t>(v.boolean) : v.integer;
}

[[noreturn]] void fail_overflow() {
  fail("an integer beyond 64 bits");
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) fail("integer division or modulo by zero");
  if (a == INT64_MIN && b == -1) fail_overflow();
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

double float_modulo(double a, double b) {
  const double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

Value whole_power(int64_t base, int64_t exponent) {
  if (exponent < 0)
    return number(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  if (base == 0 || base == 1) return integer(exponent == 0 ? 1 : base);
  if (base == -1) return integer(exponent % 2 == 0 ? 1 : -1);
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) {  // overflows within 63 rounds
    if (__builtin_mul_overflow(result, base, &result)) fail_overflow();
  }
  return integer(result);
}

Value whole_operation(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  if (op == "+") {
    overflows = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflows = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflows = __builtin_mul_overflow(a, b, &result);
  } else if (op == "//") {
    result = floor_divide(a, b);
  } else if (op == "%") {
    if (b == -1) return integer(0);
    result = a - floor_divide(a, b) * b;
  } else if (op == "**") {
    return whole_power(a, b);
  } else {
    if (b == 0) fail("division by zero");
    return number(static_cast<double>(a) / static_cast<double>(b));
  }
  if (overflows) fail_overflow();
  return integer(result);
}

Value float_operation(std::string_view op, double a, double b) {
  if (op == "+") return number(a + b);
  if (op == "-") return number(a - b);
  if (op == "*") return number(a * b);
  if (op == "**") {
    const double power = std::pow(a, b);
    if (std::isnan(power) && !std::isnan(a) && !std::isnan(b))
      fail("a power that is no real number");
    if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) {
      fail("a power that is too large");
    }
    return number(power);
  }
  if (b == 0) fail("float division by zero");
  if (op == "/") return number(a / b);
  if (op == "%") return number(float_modulo(a, b));
  const double quotient = (a - float_modulo(a, b)) / b;  // whole but for rounding
  const double floor = std::floor(quotient);
  return number(quotient - floor > 0.5 ? floor + 1 : floor);
}

Value repeat(Heap& heap, const Value& value, int64_t times) {
  times = std::max<int64_t>(0, times);
  const auto size = static_cast<double>(value.is(Kind::String) ? text_of(value).size()
                                                               : value.as<List>().items.size());
  if (size * static_cast<double>(times) > 1e7) fail("a value is repeated {} times", times);
  if (value.is(Kind::String)) {
    TextBuilder out;
    if (text_of(value).empty()) times = std::min<int64_t>(times, 1);
    for (int64_t i = 0; i < times; ++i) out.append(string_of(value));
    return out.finish(heap);
  }
  std::vector<Value> items;
  const std::vector<Value>& once = value.as<List>().items;
  for (int64_t i = 0; i < times && !once.empty(); ++i) {
    items.insert(items.end(), once.begin(), once.end());
  }
  return value.is(Kind::List) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

bool repeats(const Value& v) {
  return v.is(Kind::String) || v.is(Kind::List) || v.is(Kind::Tuple);
}

Value add_text(Heap& heap, const Value& a, const Value& b) {
  const bool markup = string_of(a).markup || string_of(b).markup;
  const Value left = markup ? escape_html(heap, string_of(a)) : a;
  const Value right = markup ? escape_html(heap, string_of(b)) : b;
  TextBuilder out;
  out.append(string_of(left));
  out.append(string_of(right));
  Value sum = out.finish(heap);
  sum.as<String>().markup = markup;
  return sum;
}

Value add(Heap& heap, const Value& a, const Value& b) {
  if (a.is(Kind::String) && b.is(Kind::String)) return add_text(heap, a, b);
  if (a.kind == b.kind && (a.is(Kind::List) || a.is(Kind::Tuple))) {
    std::vector<Value> items = a.as<List>().items;
    const std::vector<Value>& more = b.as<List>().items;
    items.insert(items.end(), more.begin(), more.end());
    return a.is(Kind::List) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
  }
  if (a.is(Kind::String)) fail("can only concatenate str (not \"{}\") to str", type_name(b));
  fail("unsupported operand type(s) for +: '{}' and '{}'", type_name(a), type_name(b));
}

struct Bounds {
  int64_t start, stop, step;
};

// slice.indices() of Python.
Bounds slice_bounds(int64_t n, const Value& start, const Value& stop, const Value& step) {
  Bounds b = {0, n, step.is(Kind::None) ? 1 : to_index(step, "slice step")};
  if (b.step == 0) fail("slice step cannot be zero");
  const int64_t low = b.step < 0 ? -1 : 0, high = b.step < 0 ? n - 1 : n;
  const auto bound = [&](const Value& v, int64_t fallback) {
    if (v.is(Kind::None)) return fallback;
    const int64_t i = to_index(v, "slice index");
    return i < 0 ? std::max(i + n, low) : std::min(i, high);
  };
  b.start = bound(start, b.step < 0 ? high : low);
  b.stop = bound(stop, b.step < 0 ? low : high);
  return b;
}

std::vector<int64_t> slice_indices(const Bounds& b) {
  std::vector<int64_t> indices;
  if (b.step > 0) {
    for (int64_t i = b.start; i < b.stop; i += std::min(b.step, b.stop - i)) indices.push_back(i);
  } else {
    for (int64_t i = b.start; i > b.stop; i += std::max(b.step, b.stop - i)) indices.push_back(i);
  }
  return indices;
}

Value slice_text(Heap& heap, const String& s, const Bounds& b) {
  if (b.step == 1) {
    const size_t begin = byte_offset(s.text, b.start);
    const size_t end =
        b.stop > b.start
            ? begin + byte_offset(std::string_view(s.text).substr(begin), b.stop - b.start)
            : begin;
    heap.charge_text(s.text.size());
    return slice_bytes(heap, s, begin, end);
  }
  std::vector<size_t> offsets;
  size_t bytes = 0;
  for (size_t at = 0; at < s.text.size(); at += bytes) {
    offsets.push_back(at);
    decode_character(s.text, at, &bytes);
  }
  offsets.push_back(s.text.size());
  heap.charge(static_cast<int64_t>(offsets.size()));
  TextBuilder out;
  for (const int64_t i : slice_indices(b)) {
    const auto at = static_cast<size_t>(i);
    out.append(s, offsets[at], offsets[at + 1]);
  }
  return out.finish(heap);
}

}  // namespace

int64_t to_index(const Value& value, std::string_view what) {
  if (value.is(Kind::Undefined)) Renderer::fail_undefined(value);
  if (!is_whole(value)) fail("{} must be an integer, not {}", what, type_name(value));
  return whole(value);
}

Value binary_operation(Heap& heap, std::string_view op, const Value& a, const Value& b) {
  for (const Value* v : {&a, &b}) {
    // "text" % undefined prints it; everything else refuses undefined values.
    if (v->is(Kind::Undefined) && !(op == "%" && a.is(Kind::String))) Renderer::fail_undefined(*v);
    if (v->is(Kind::BigInt)) fail_overflow();
  }
  if (is_whole(a) && is_whole(b)) return whole_operation(op, whole(a), whole(b));
  if (is_number(a) && is_number(b)) return float_operation(op, to_double(a), to_double(b));
  if (op == "+") return add(heap, a, b);
  if (op == "*" && repeats(a) && is_whole(b)) return repeat(heap, a, whole(b));
  if (op == "*" && repeats(b) && is_whole(a)) return repeat(heap, b, whole(a));
  if (op == "%" && a.is(Kind::String)) return format_percent(heap, string_of(a), b);
  fail("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(a), type_name(b));
}

Value slice_value(Heap& heap, const Value& value, const Value& start, const Value& stop,
                  const Value& step) {
  if (value.is(Kind::Undefined)) Renderer::fail_undefined(value);
  const bool sliceable = value.is(Kind::String) || value.is(Kind::List) || value.is(Kind::Tuple) ||
                         value.is(Kind::Range);
  if (!sliceable) fail("a {} cannot be sliced", type_name(value));
  const Bounds b = slice_bounds(length(value), start, stop, step);
  if (value.is(Kind::String)) return slice_text(heap, string_of(value), b);
  std::vector<Value> items;
  if (value.is(Kind::Range)) {
    const Range& r = value.as<Range>();
    Range* part = heap.make<Range>();
    part->start = r.start + b.start * r.step;
    part->stop = r.start + b.stop * r.step;
    if (__builtin_mul_overflow(r.step, b.step, &part->step)) fail_overflow();
    return handle(Kind::Range, part);
  }
  for (const int64_t i : slice_indices(b)) {
    items.push_back(value.as<List>().items[static_cast<size_t>(i)]);
  }
  return value.is(Kind::List) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

}  // namespace pivot::chat::jinja
