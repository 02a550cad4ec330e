#include <algorithm>
#include <charconv>

#include "data/chat/jinja/ast.h"
#include "data/chat/jinja/lexer.h"
#include "data/chat/jinja/library.h"
#include "src/base/check.h"

namespace pivot::chat::jinja {
namespace {

using Kind = Token::Kind;
using E = Expression::Kind;

// Deeper nesting than this is no chat template, and would be deep recursion.
constexpr int kMaxDepth = 120;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body run() {
    Body body = parse_body({});
    if (now().kind != Kind::End) fail_at(now().line, "a tag that closes nothing");
    return body;
  }

 private:
  struct Deeper {
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxDepth) fail_at(parser.now().line, "nested too deeply");
    }
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };

  const Token& now() const { return tokens_[at_]; }
  const Token& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool accept(std::string_view sign) {
    if (!now().is(sign)) return false;
    take();
    return true;
  }
  bool accept_name(std::string_view name) {
    if (!now().is_name(name)) return false;
    take();
    return true;
  }
  void expect(std::string_view sign) {
    if (!accept(sign))
      fail_at(now().line, fmt::format("'{}' expected before '{}'", sign, now().text));
  }
  std::string expect_identifier() {
    if (now().kind != Kind::Name)
      fail_at(now().line, fmt::format("a name expected, not '{}'", now().text));
    return take().text;
  }
  void expect_end() {
    if (now().kind != Kind::BlockEnd)
      fail_at(now().line, fmt::format("'{}' is not understood here", now().text));
    take();
  }
  ExpressionPtr make(E kind, std::string name = {}) const {
    auto e = std::make_unique<Expression>();
    e->kind = kind;
    e->line = now().line;
    e->name = std::move(name);
    return e;
  }
  ExpressionPtr join(E kind, std::string name, ExpressionPtr a, ExpressionPtr b) const {
    ExpressionPtr e = make(kind, std::move(name));
    e->children.push_back(std::move(a));
    e->children.push_back(std::move(b));
    return e;
  }

  // Statements up to a block that begins with one of `ends` (left for the caller) or the end.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Deeper deeper(*this);
    Body body;
    for (;;) {
      if (now().kind == Kind::End) return body;
      if (now().kind == Kind::Text) {
        Statement s{.kind = Statement::Kind::Text, .line = now().line, .text = take().text};
        body.push_back(std::move(s));
      } else if (now().kind == Kind::OutputBegin) {
        take();
        Statement s{.kind = Statement::Kind::Output, .line = now().line};
        s.expression = parse_tuple();
        if (now().kind != Kind::OutputEnd)
          fail_at(now().line, fmt::format("'{}' is not understood here", now().text));
        take();
        body.push_back(std::move(s));
      } else {
        const Token& name = after();
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return name.is_name(end); }))
          return body;
        take();
        body.push_back(parse_statement());
      }
    }
  }

  // `{%` was taken, its name is now.
  Statement parse_statement() {
    const int line = now().line;
    const std::string name = expect_identifier();
    if (name == "if") return parse_if(line);
    if (name == "for") return parse_for(line);
    if (name == "set") return parse_set(line);
    if (name == "macro") return parse_macro(line);
    if (name == "generation") {
      Statement s{.kind = Statement::Kind::Generation, .line = line};
      expect_end();
      s.body = parse_body({"endgeneration"});
      close("endgeneration");
      return s;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail_at(line, name + " outside of a loop");
      expect_end();
      return {.kind = name == "break" ? Statement::Kind::Break : Statement::Kind::Continue,
              .line = line};
    }
    fail_at(line, fmt::format("{{% {} %}} is not supported", name));
  }

  void close(std::string_view name) {
    if (now().kind != Kind::BlockBegin || !after().is_name(name)) {
      fail_at(now().line, fmt::format("{{% {} %}} is missing", name));
    }
    take();
    take();
    expect_end();
  }

  Statement parse_if(int line) {
    Statement s{.kind = Statement::Kind::If, .line = line};
    s.expression = parse_tuple();
    expect_end();
    s.body = parse_body({"elif", "else", "endif"});
    if (now().kind == Kind::BlockBegin && after().is_name("elif")) {
      take();
      const int at = take().line;
      const Deeper deeper(*this);
      s.otherwise.push_back(parse_if(at));
      return s;
    }
    if (now().kind == Kind::BlockBegin && after().is_name("else")) {
      take();
      take();
      expect_end();
      s.otherwise = parse_body({"endif"});
    }
    close("endif");
    return s;
  }

  Statement parse_for(int line) {
    Statement s{.kind = Statement::Kind::For, .line = line};
    const bool bracket = accept("(");
    s.targets.push_back(expect_identifier());
    while (accept(",")) s.targets.push_back(expect_identifier());
    if (bracket) expect(")");
    if (!accept_name("in")) fail_at(now().line, "'in' expected in {% for %}");
    s.expression = parse_tuple(/*with_choice=*/false);
    if (accept_name("if")) s.filter = parse_expression();
    if (now().is_name("recursive")) fail_at(now().line, "recursive loops are not supported");
    expect_end();
    ++loops_;
    s.body = parse_body({"else", "endfor"});
    --loops_;
    if (now().kind == Kind::BlockBegin && after().is_name("else")) {
      take();
      take();
      expect_end();
      s.otherwise = parse_body({"endfor"});
    }
    close("endfor");
    return s;
  }

  Statement parse_set(int line) {
    Statement s{.kind = Statement::Kind::Set, .line = line};
    do {
      std::string target = expect_identifier();
      if (accept(".")) target += "." + expect_identifier();
      s.targets.push_back(std::move(target));
    } while (accept(","));
    if (accept("=")) {
      s.expression = parse_tuple();
      expect_end();
      return s;
    }
    if (now().is("|")) fail_at(line, "filters on {% set %} blocks are not supported");
    if (s.targets.size() != 1) fail_at(line, "'=' expected in {% set %}");
    s.kind = Statement::Kind::SetBlock;
    expect_end();
    s.body = parse_body({"endset"});
    close("endset");
    return s;
  }

  Statement parse_macro(int line) {
    Statement s{.kind = Statement::Kind::Macro, .line = line};
    s.text = expect_identifier();
    expect("(");
    while (!accept(")")) {
      s.targets.push_back(expect_identifier());
      if (accept("=")) {
        s.defaults.push_back(parse_expression());
      } else if (!s.defaults.empty()) {
        fail_at(now().line, "a parameter without default after one with it");
      }
      if (!now().is(")")) expect(",");
    }
    expect_end();
    const int loops = std::exchange(loops_, 0);
    s.body = parse_body({"endmacro"});
    loops_ = loops;
    close("endmacro");
    return s;
  }

  // a, b, c without brackets is a tuple.
  ExpressionPtr parse_tuple(bool with_choice = true) {
    ExpressionPtr first = with_choice ? parse_expression() : parse_or();
    if (!now().is(",")) return first;
    ExpressionPtr tuple = make(E::Sequence);
    tuple->children.push_back(std::move(first));
    while (accept(",")) {
      if (now().kind == Kind::BlockEnd || now().kind == Kind::OutputEnd) break;
      tuple->children.push_back(with_choice ? parse_expression() : parse_or());
    }
    return tuple;
  }

  ExpressionPtr parse_expression() {
    const Deeper deeper(*this);
    ExpressionPtr value = parse_or();
    while (now().is_name("if")) {
      ExpressionPtr choice = make(E::Choice);
      take();
      choice->children.push_back(std::move(value));
      choice->children.push_back(parse_or());
      choice->children.push_back(accept_name("else") ? parse_expression() : nullptr);
      value = std::move(choice);
    }
    return value;
  }

  ExpressionPtr parse_or() {
    ExpressionPtr left = parse_and();
    while (accept_name("or")) left = join(E::Binary, "or", std::move(left), parse_and());
    return left;
  }
  ExpressionPtr parse_and() {
    ExpressionPtr left = parse_not();
    while (accept_name("and")) left = join(E::Binary, "and", std::move(left), parse_not());
    return left;
  }
  ExpressionPtr parse_not() {
    if (!now().is_name("not")) return parse_compare();
    const Deeper deeper(*this);
    ExpressionPtr e = make(E::Unary, "not");
    take();
    e->children.push_back(parse_not());
    return e;
  }

  ExpressionPtr parse_compare() {
    ExpressionPtr first = parse_sum();
    ExpressionPtr compare;
    for (;;) {
      std::string sign;
      for (const std::string_view s : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (now().is(s)) sign = s;
      }
      if (now().is_name("in")) sign = "in";
      if (now().is_name("not") && after().is_name("in")) {
        take();
        sign = "not in";
      }
      if (sign.empty()) return compare ? std::move(compare) : std::move(first);
      take();
      if (!compare) {
        compare = make(E::Compare);
        compare->children.push_back(std::move(first));
      }
      compare->operators.push_back(sign);
      compare->children.push_back(parse_sum());
    }
  }

  template <class Next>
  ExpressionPtr parse_chain(std::initializer_list<std::string_view> signs, const Next& next) {
    ExpressionPtr left = next();
    for (;;) {
      const auto sign =
          std::find_if(signs.begin(), signs.end(), [&](auto s) { return now().is(s); });
      if (sign == signs.end()) return left;
      take();
      left = join(E::Binary, std::string(*sign), std::move(left), next());
    }
  }
  ExpressionPtr parse_sum() {
    return parse_chain({"+", "-"}, [&] { return parse_concatenation(); });
  }
  ExpressionPtr parse_concatenation() {
    return parse_chain({"~"}, [&] { return parse_product(); });
  }
  ExpressionPtr parse_product() {
    return parse_chain({"*", "//", "/", "%"}, [&] { return parse_power(); });
  }
  ExpressionPtr parse_power() {
    return parse_chain({"**"}, [&] { return parse_unary(Filters::Yes); });
  }

  enum class Filters { No, Yes };
  ExpressionPtr parse_unary(Filters filters) {
    const Deeper deeper(*this);
    ExpressionPtr e;
    if (now().is("-") || now().is("+")) {
      e = make(E::Unary, now().text);
      take();
      e->children.push_back(parse_unary(Filters::No));
    } else {
      e = parse_postfix(parse_primary());
    }
    return filters == Filters::Yes ? parse_filters(std::move(e)) : std::move(e);
  }

  ExpressionPtr literal(Value value) {
    ExpressionPtr e = make(E::Literal);
    e->value = std::move(value);
    return e;
  }

  ExpressionPtr parse_primary() {
    const Token token = now();
    if (token.kind == Kind::Name) {
      ExpressionPtr e = make(E::Name, token.text);
      take();
      if (token.text == "true" || token.text == "True") return literal(Value::boolean(true));
      if (token.text == "false" || token.text == "False") return literal(Value::boolean(false));
      if (token.text == "none" || token.text == "None") return literal(Value::none());
      return e;
    }
    if (token.kind == Kind::String) {
      std::string text;
      while (now().kind == Kind::String) text += take().text;  // neighbours are one string
      return literal(Value::text(Text(std::move(text))));
    }
    if (token.kind == Kind::Integer) {
      int64_t value = 0;
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
      take();
      return literal(Value::integer(value));
    }
    if (token.kind == Kind::Float) {
      double value = 0;
      std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
      take();
      return literal(Value::Data(value));
    }
    if (accept("(")) {
      if (accept(")")) return make(E::Sequence);
      ExpressionPtr e = parse_expression();
      if (now().is(",")) {
        ExpressionPtr tuple = make(E::Sequence);
        tuple->children.push_back(std::move(e));
        while (accept(",") && !now().is(")")) tuple->children.push_back(parse_expression());
        e = std::move(tuple);
      }
      expect(")");
      return e;
    }
    if (accept("[")) {
      ExpressionPtr e = make(E::Sequence);
      while (!accept("]")) {
        e->children.push_back(parse_expression());
        if (!now().is("]")) expect(",");
      }
      return e;
    }
    if (accept("{")) {
      ExpressionPtr e = make(E::Mapping);
      while (!accept("}")) {
        e->children.push_back(parse_expression());
        expect(":");
        e->children.push_back(parse_expression());
        if (!now().is("}")) expect(",");
      }
      return e;
    }
    fail_at(token.line, fmt::format("an expression expected, not '{}'", token.text));
  }

  ExpressionPtr parse_postfix(ExpressionPtr e) {
    for (int i = 0;; ++i) {
      if (i > kMaxDepth) fail_at(now().line, "nested too deeply");
      if (accept(".")) {
        ExpressionPtr attribute = make(E::Attribute, expect_identifier());
        attribute->children.push_back(std::move(e));
        e = std::move(attribute);
      } else if (accept("[")) {
        e = parse_subscript(std::move(e));
      } else if (now().is("(")) {
        ExpressionPtr call = make(E::Call);
        call->children.push_back(std::move(e));
        parse_arguments(*call);
        e = std::move(call);
      } else {
        return e;
      }
    }
  }

  ExpressionPtr parse_subscript(ExpressionPtr e) {
    ExpressionPtr begin = now().is(":") ? nullptr : parse_expression();
    if (accept("]")) return join(E::Item, "", std::move(e), std::move(begin));
    ExpressionPtr slice = make(E::Slice);
    slice->children.push_back(std::move(e));
    slice->children.push_back(std::move(begin));
    expect(":");
    slice->children.push_back(now().is("]") || now().is(":") ? nullptr : parse_expression());
    const bool step = accept(":");
    slice->children.push_back(step && !now().is("]") ? parse_expression() : nullptr);
    expect("]");
    return slice;
  }

  void parse_arguments(Expression& call) {
    expect("(");
    while (!accept(")")) {
      if (now().kind == Kind::Name && after().is("=")) {
        std::string name = take().text;
        take();
        call.named.emplace_back(std::move(name), parse_expression());
      } else {
        if (!call.named.empty()) fail_at(now().line, "a positional argument after a named one");
        call.children.push_back(parse_expression());
      }
      if (!now().is(")")) expect(",");
    }
  }

  ExpressionPtr parse_filters(ExpressionPtr e) {
    for (int i = 0;; ++i) {
      if (i > kMaxDepth) fail_at(now().line, "nested too deeply");
      if (accept("|")) {
        ExpressionPtr filter = make(E::Filter, expect_identifier());
        if (!known_filter(filter->name))
          fail_at(filter->line, fmt::format("filter '{}' is not supported", filter->name));
        filter->children.push_back(std::move(e));
        if (now().is("(")) parse_arguments(*filter);
        e = std::move(filter);
      } else if (accept_name("is")) {
        e = parse_test(std::move(e));
      } else if (now().is("(") && (e->kind == E::Filter || e->kind == E::Test)) {
        fail_at(now().line, "calls of filtered values are not supported");
      } else {
        return e;
      }
    }
  }

  ExpressionPtr parse_test(ExpressionPtr e) {
    ExpressionPtr test = make(E::Test);
    test->negated = accept_name("not");
    test->name = expect_identifier();
    if (!known_test(test->name))
      fail_at(test->line, fmt::format("test '{}' is not supported", test->name));
    test->children.push_back(std::move(e));
    const Token& t = now();
    const bool value =
        t.kind == Kind::String || t.kind == Kind::Integer || t.kind == Kind::Float || t.is("[") ||
        t.is("{") ||
        (t.kind == Kind::Name && !t.is_name("else") && !t.is_name("or") && !t.is_name("and") &&
         !t.is_name("is") && !t.is_name("if") && !t.is_name("in") && !t.is_name("not"));
    if (t.is("(")) {
      parse_arguments(*test);
    } else if (value) {
      test->children.push_back(parse_postfix(parse_primary()));
    }
    return test;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) {
  return Parser(tokenize_source(source)).run();
}

}  // namespace pivot::chat::jinja
