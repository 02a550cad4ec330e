#include "data/chat/jinja/value.h"

#include <algorithm>
#include <cmath>

namespace pivot::chat::jinja {
namespace {

constexpr size_t kIndexFrom = 16;  // entries from which a dict looks its string keys up in a table

bool is_integral(const Value& v) {
  return v.is(Kind::Bool) || v.is(Kind::Int);
}

int64_t to_integer(const Value& v) {
  return v.is(Kind::Bool) ? static_cast<int64_t>(v.boolean) : v.integer;
}

bool equal_items(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Value& x, const Value& y) { return equal(x, y); });
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&b](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && equal(entry.second, *other);
  });
}

bool less_items(const std::vector<Value>& a, const std::vector<Value>& b, std::string_view op) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end(),
                                    [](const Value& u, const Value& v) { return equal(u, v); });
  if (x == a.end() || y == b.end()) return x == a.end() && y != b.end();
  return less(*x, *y, op);
}

}  // namespace

ptrdiff_t Dict::position(std::string_view key) const {
  if (!index.empty()) {
    const auto found = index.find(key);
    return found == index.end() ? -1 : static_cast<ptrdiff_t>(found->second);
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].first.is(Kind::String) && text_of(entries[i].first) == key) {
      return static_cast<ptrdiff_t>(i);
    }
  }
  return -1;
}

const Value* Dict::find(std::string_view key) const {
  const ptrdiff_t at = position(key);
  return at < 0 ? nullptr : &entries[static_cast<size_t>(at)].second;
}

const Value* Dict::find(const Value& key) const {
  if (key.is(Kind::String)) return find(text_of(key));
  for (const auto& [k, v] : entries) {
    if (!k.is(Kind::String) && equal(k, key)) return &v;
  }
  return nullptr;
}

void Dict::set(const Value& key, const Value& value) {
  depth = std::max(depth, 1 + depth_of(value));
  if (depth > kDeepest) fail("dicts and lists are nested more than {} deep", kDeepest);
  if (const Value* found = find(key); found != nullptr) {
    *const_cast<Value*>(found) = value;
    return;
  }
  entries.emplace_back(key, value);
  if (entries.size() == kIndexFrom) {
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].first.is(Kind::String)) {
        index.emplace(text_of(entries[i].first), static_cast<uint32_t>(i));
      }
    }
  } else if (!index.empty() && key.is(Kind::String)) {
    index.emplace(text_of(key), static_cast<uint32_t>(entries.size() - 1));
  }
}

int64_t Range::size() const {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

bool Loop::peek(Value& item) {
  if (pending.empty()) {
    Value pulled;
    if (!pull(pulled)) return false;
    pending.push_back(pulled);
  }
  item = pending.front();
  return true;
}

bool Loop::next(Value& item) {
  if (!peek(item)) return false;
  pending.pop_front();
  ++index0;
  before = current;
  current = item;
  return true;
}

Value Heap::text(std::string_view text, int32_t owner) {
  TextBuilder out;
  out.append(text, owner);
  return out.finish(*this);
}

Value Heap::list(std::vector<Value> items) {
  charge(static_cast<int64_t>(items.size()) * 2);
  List* list = make<List>();
  list->items = std::move(items);
  for (const Value& item : list->items) list->depth = std::max(list->depth, 1 + depth_of(item));
  if (list->depth > kDeepest) fail("lists and dicts are nested more than {} deep", kDeepest);
  return handle(Kind::List, list);
}

Value Heap::tuple(std::vector<Value> items) {
  Value v = list(std::move(items));
  v.kind = Kind::Tuple;
  return v;
}

Value Heap::generator(std::vector<Value> items) {
  charge(static_cast<int64_t>(items.size()) * 2);
  Generator* generator = make<Generator>();
  generator->items = std::move(items);
  return handle(Kind::Generator, generator);
}

Value Heap::undefined(std::string message) {
  UndefinedInfo* info = make<UndefinedInfo>();
  info->message = std::move(message);
  return handle(Kind::Undefined, info);
}

void Heap::fail_limit() const {
  fail("the template does too much work for this conversation (more than {} steps)", limit_);
}

void TextBuilder::mark(int32_t owner, int32_t block, size_t bytes) {
  if (text_.size() + bytes > kMaxText) {
    fail("the template writes more than {} MiB of text", kMaxText >> 20);
  }
  const bool plain = owner == kTemplate && block == 0;
  if (runs_.empty()) {
    if (plain) return;
    if (!text_.empty()) runs_.push_back({static_cast<uint32_t>(text_.size()), kTemplate, 0});
  }
  if (bytes == 0 && owner == kTemplate) return;  // empty text of the template marks nothing
  const auto end = static_cast<uint32_t>(text_.size() + bytes);
  if (!runs_.empty() && runs_.back().owner == owner && runs_.back().block == block) {
    runs_.back().end = end;
  } else {
    runs_.push_back({end, owner, block});
  }
}

void TextBuilder::append(std::string_view text, int32_t owner, int32_t block) {
  mark(owner, block, text.size());
  text_ += text;
}

void TextBuilder::append(const String& text) {
  append(text, 0, text.text.size());
}

void TextBuilder::append(const String& text, size_t begin, size_t end) {
  if (text.runs.empty()) {
    append(std::string_view(text.text).substr(begin, end - begin));
    return;
  }
  auto run = std::lower_bound(text.runs.begin(), text.runs.end(), begin,
                              [](const Run& r, size_t at) { return r.end < at; });
  size_t from = run == text.runs.begin() ? 0 : std::prev(run)->end;
  for (; run != text.runs.end() && from <= end; from = run->end, ++run) {
    const size_t first = std::max(from, begin), last = std::min<size_t>(run->end, end);
    // Empty stretches of a longer text are kept where they were empty before, and where all of
    // what is taken is empty.
    const bool empty = first >= last;
    if (empty && from != run->end && begin != end) continue;
    mark(run->owner, run->block, empty ? 0 : last - first);
    if (!empty) text_.append(text.text, first, last - first);
  }
}

void TextBuilder::mark_block(int32_t block) {
  if (runs_.empty()) {
    runs_.push_back({static_cast<uint32_t>(text_.size()), kTemplate, 0});
  }
  for (Run& run : runs_) {
    if (run.block == 0) run.block = block;
  }
}

Value TextBuilder::finish(Heap& heap) {
  heap.charge_text(text_.size() + runs_.size() * sizeof(Run));
  String* s = heap.make<String>();
  s->text = std::move(text_);
  s->runs = std::move(runs_);
  text_.clear();
  runs_.clear();
  return handle(Kind::String, s);
}

int depth_of(const Value& value) {
  if (value.is(Kind::List) || value.is(Kind::Tuple)) return value.as<List>().depth;
  if (value.is(Kind::Dict)) return value.as<Dict>().depth;
  return value.is(Kind::View) ? value.as<View>().dict->depth : 0;
}

std::string_view type_name(const Value& value) {
  switch (value.kind) {
    case Kind::Undefined:
      return "Undefined";
    case Kind::None:
      return "None";
    case Kind::Bool:
      return "bool";
    case Kind::Int:
    case Kind::BigInt:
      return "int";
    case Kind::Float:
      return "float";
    case Kind::String:
      return "str";
    case Kind::List:
      return "list";
    case Kind::Tuple:
      return "tuple";
    case Kind::Dict:
      return "dict";
    case Kind::View:
      return "dict view";
    case Kind::Range:
      return "range";
    case Kind::Generator:
      return "generator";
    case Kind::Namespace:
      return "namespace";
    case Kind::Loop:
      return "loop";
    case Kind::Macro:
      return "macro";
    case Kind::Function:
      return "function";
    case Kind::Method:
      return "method";
  }
  return "value";
}

bool truthy(const Value& value) {
  switch (value.kind) {
    case Kind::Undefined:
    case Kind::None:
      return false;
    case Kind::Bool:
      return value.boolean;
    case Kind::Int:
      return value.integer != 0;
    case Kind::Float:
      return value.number != 0;
    case Kind::String:
    case Kind::List:
    case Kind::Tuple:
    case Kind::Dict:
    case Kind::View:
    case Kind::Range:
      return length(value) != 0;
    default:
      return true;
  }
}

bool is_number(const Value& value) {
  return is_integral(value) || value.is(Kind::Float);
}

double to_double(const Value& value) {
  return value.is(Kind::Float) ? value.number : static_cast<double>(to_integer(value));
}

bool equal(const Value& a, const Value& b) {
  if (is_integral(a) && is_integral(b)) return to_integer(a) == to_integer(b);
  if (is_number(a) && is_number(b)) return to_double(a) == to_double(b);
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::Undefined:
    case Kind::None:
      return true;
    case Kind::BigInt:
      return a.as<BigInt>().digits == b.as<BigInt>().digits;
    case Kind::String:
      return text_of(a) == text_of(b);
    case Kind::List:
    case Kind::Tuple:
      return a.object == b.object || equal_items(a.as<List>().items, b.as<List>().items);
    case Kind::Dict:
      return a.object == b.object || equal_dicts(a.as<Dict>(), b.as<Dict>());
    case Kind::Range: {
      const Range &x = a.as<Range>(), &y = b.as<Range>();
      const int64_t n = x.size();
      return n == y.size() && (n == 0 || (x.start == y.start && (n == 1 || x.step == y.step)));
    }
    default:
      return a.object == b.object;
  }
}

bool less(const Value& a, const Value& b, std::string_view op) {
  if (is_integral(a) && is_integral(b)) return to_integer(a) < to_integer(b);
  if (is_number(a) && is_number(b)) return to_double(a) < to_double(b);
  if (a.kind == b.kind) {
    // UTF-8 orders as its characters do.
    if (a.is(Kind::String)) return text_of(a) < text_of(b);
    if (a.is(Kind::List) || a.is(Kind::Tuple)) {
      return less_items(a.as<List>().items, b.as<List>().items, op);
    }
  }
  for (const Value* v : {&a, &b}) {
    if (v->is(Kind::Undefined))
      fail("{}", v->object ? v->as<UndefinedInfo>().message : "undefined");
  }
  fail("'{}' not supported between {} and {}", op, type_name(a), type_name(b));
}

int64_t length(const Value& value) {
  switch (value.kind) {
    case Kind::Undefined:
      return 0;
    case Kind::String:
      return static_cast<int64_t>(
          std::count_if(text_of(value).begin(), text_of(value).end(),
                        [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
    case Kind::List:
    case Kind::Tuple:
      return static_cast<int64_t>(value.as<List>().items.size());
    case Kind::Dict:
      return static_cast<int64_t>(value.as<Dict>().entries.size());
    case Kind::View:
      return static_cast<int64_t>(value.as<View>().dict->entries.size());
    case Kind::Range:
      return value.as<Range>().size();
    default:
      fail("a {} has no length", type_name(value));
  }
}

}  // namespace pivot::chat::jinja
