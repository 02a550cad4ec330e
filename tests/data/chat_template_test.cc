#include "data/chat/template.h"
#include "data/tokenizer.h"
#include "src/base/check.h"
#include "tests/support/catch.h"

using namespace pivot;

namespace {

chat::Conversation talk() {
  chat::Conversation c;
  c.messages.push_back({"user", "One?", "", true});
  c.messages.push_back({"assistant", "First answer", "", true});
  c.messages.push_back({"user", "Two?", "", true});
  c.messages.push_back({"assistant", "Second answer", "", true});
  return c;
}

chat::RenderOptions with_tokens() {
  chat::RenderOptions o;
  o.bos_token = "<s>";
  o.eos_token = "</s>";
  return o;
}

std::vector<std::string> learnt(const chat::Rendered& r) {
  std::vector<std::string> texts;
  for (const chat::TextSpan& s : r.learnt) {
    texts.push_back(
        r.text.substr(static_cast<size_t>(s.begin), static_cast<size_t>(s.end - s.begin)));
  }
  return texts;
}

}  // namespace

TEST_CASE("chatml: text, generation prompt, answers with their end of turn") {
  const chat::Template t(chat::builtin_source("chatml"));
  chat::RenderOptions options = with_tokens();
  options.add_generation_prompt = true;
  chat::Conversation c = talk();
  c.messages.resize(2);
  const chat::Rendered r = t.render(c, options);
  CHECK(r.text ==
        "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nFirst answer<|im_end|>\n"
        "<|im_start|>assistant\n");
  CHECK(learnt(r) == std::vector<std::string>{"First answer<|im_end|>"});
}

TEST_CASE("every built-in template learns both answers and nothing the user said") {
  for (const std::string& name : chat::builtin_names()) {
    INFO(name);
    const chat::Template t(chat::builtin_source(name));
    const chat::Rendered r = t.render(talk(), with_tokens());
    const std::vector<std::string> texts = learnt(r);
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].find("First answer") != std::string::npos);
    CHECK(texts[1].find("Second answer") != std::string::npos);
    for (const std::string& text : texts) CHECK(text.find('?') == std::string::npos);
  }
}

TEST_CASE("an answer of weight 0 is not learnt") {
  const chat::Template t(chat::builtin_source("llama3"));
  chat::Conversation c = talk();
  c.messages[1].learnt = false;
  CHECK(learnt(t.render(c, with_tokens())) == std::vector<std::string>{"Second answer<|eot_id|>"});
}

TEST_CASE("trimmed and sliced content is still found; generation blocks hold over it") {
  const chat::Template trimmed(
      "{% for m in messages %}{{ m.role }}: {{ (' ' + m.content + ' ') | trim }}</s>{% endfor %}");
  CHECK(learnt(trimmed.render(talk(), with_tokens())) ==
        std::vector<std::string>{"First answer</s>", "Second answer</s>"});
  const chat::Template marked(
      "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}[{{ m.content }}]"
      "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}");
  CHECK(learnt(marked.render(talk(), with_tokens())) ==
        std::vector<std::string>{"[First answer]", "[Second answer]"});
}

TEST_CASE("what is not understood is refused by name and line") {
  CHECK_THROWS_WITH(chat::Template("a\n{% include 'x' %}"),
                    ContainsSubstring("include") && ContainsSubstring("2"));
  CHECK_THROWS_WITH(chat::Template("{{ x | shuffle }}"), ContainsSubstring("shuffle"));
  CHECK_THROWS_AS(chat::Template("{% for m in messages %}"), UserError);
  CHECK_THROWS_AS(chat::Template("{{ 1 + }}"), UserError);
  const chat::Template refuses("{{ raise_exception('no system here') }}");
  CHECK_THROWS_WITH(refuses.render(talk(), with_tokens()), ContainsSubstring("no system here"));
}

TEST_CASE("a template cannot run or write for ever") {
  const chat::Template loops(
      "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}"
      "{% endfor %}{% endfor %}{% endfor %}");
  CHECK_THROWS_AS(loops.render(talk(), with_tokens()), UserError);
  const chat::Template writes("{% for a in range(1000000) %}{{ 'x' * 1000000 }}{% endfor %}");
  CHECK_THROWS_AS(writes.render(talk(), with_tokens()), UserError);
}

TEST_CASE("conversations in the formats of data sets") {
  const auto roles = [](std::string_view json) {
    std::string all;
    for (const chat::Message& m : chat::parse_conversation(json, "auto", "here").messages) {
      all += m.role + "=" + m.content + ";";
    }
    return all;
  };
  CHECK(roles(R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},)"
              R"({"role":"assistant","content":"b","weight":0}]})") == "user=a;assistant=b;");
  CHECK(roles(R"({"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]})") ==
        "user=a;assistant=b;");
  CHECK(roles(R"({"prompt":"a","completion":"b"})") == "user=a;assistant=b;");
  CHECK_THROWS_WITH(roles(R"({"prompt":"a","chosen":"b","rejected":"c"})"),
                    ContainsSubstring("here"));
  CHECK_THROWS_WITH(roles("{"), ContainsSubstring("here"));
  CHECK_THROWS_AS(roles(R"({"messages":[{"role":"wizard","content":"a"}]})"), UserError);
}

TEST_CASE("tokens of a conversation: learnt where the answer and its end are") {
  const auto tokenizer = make_tokenizer("bytes", "");
  const chat::Template t(chat::builtin_source("chatml"));
  const chat::ChatTokens tokens = chat::tokenize(t, talk(), with_tokens(), *tokenizer);
  std::string text;
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    if (tokens.learnt[i] != 0) text += static_cast<char>(tokens.ids[i]);
  }
  CHECK(text == "First answer<|im_end|>Second answer<|im_end|>");
}
