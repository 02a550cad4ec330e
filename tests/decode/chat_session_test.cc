#include "src/decode/chat_session.h"

#include <algorithm>
#include <csignal>

#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "tests/decode/counting_run.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot {
namespace {

chat::Template chatml() {
  return chat::Template(chat::builtin_source("chatml"));
}

SessionOptions options_of(const std::string& model) {
  SessionOptions options;
  options.model = model;
  options.device = "cpu";
  options.threads = 1;
  return options;
}

struct Fixture {
  test::TempDir dir;
  Session session;
  ChatSession chat;
  ChatSettings settings{.sampler = {.temperature = 0}, .max_tokens = 5};

  explicit Fixture(int64_t context = 1000)
      : session(options_of(test::save_talking_model(dir / "run", context)), 1),
        chat(session, chatml()) {}

  ChatTurn say(const std::string& text) { return chat.say(text, settings, {}); }
  std::vector<std::string> said() const {
    std::vector<std::string> out;
    for (const chat::Message& m : chat.messages()) out.push_back(m.role[0] + (":" + m.content));
    return out;
  }
};

using Said = std::vector<std::string>;

}  // namespace

TEST_CASE("chat: turns, their history, what is known of the prompt") {
  Fixture f;
  f.settings.max_tokens = 200;
  std::string streamed;
  const ChatTurn first = f.chat.say(
      "Say the alphabet, please, all of it, every letter once, in order, from the first to the "
      "last.",
      f.settings, [&](int, std::string_view text) { streamed += text; });
  CHECK(first.answer.text == "abcdefghijklmnopqrstuvwxyz");
  CHECK(streamed == first.answer.text);
  CHECK(first.answer.finish == Finish::Eos);
  CHECK(first.timing.reused_tokens == 0);
  CHECK(first.used == first.timing.prompt_tokens + 27);
  CHECK(first.kept_mass == 1);

  const std::string before = f.chat.rendered();
  f.settings.max_tokens = 3;
  const ChatTurn second = f.say("Once more.");
  CHECK(second.answer.text == "abc");
  CHECK(second.answer.finish == Finish::Length);
  // Everything but the answer's header and what follows was known.
  CHECK(second.timing.reused_tokens >= first.used - 1);
  CHECK(f.said() == Said{"u:Say the alphabet, please, all of it, every letter once, in order, from "
                         "the first to the last.",
                         "a:abcdefghijklmnopqrstuvwxyz", "u:Once more.", "a:abc"});
  CHECK(f.chat.rendered().starts_with(before.substr(0, before.rfind("<|im_start|>"))));
  CHECK(f.chat.tokens() == static_cast<int64_t>(f.chat.rendered().size()));
}

TEST_CASE("chat: undo, again, reset, system message") {
  Fixture f;
  f.say("one");
  f.say("two");
  f.settings.max_tokens = 2;
  CHECK(f.chat.answer_again(f.settings, {}).answer.text == "ab");
  CHECK(f.said() == Said{"u:one", "a:abcde", "u:two", "a:ab"});
  f.chat.undo();
  CHECK(f.said() == Said{"u:one", "a:abcde"});
  f.chat.undo();
  CHECK(f.said().empty());
  CHECK_THROWS_AS(f.chat.undo(), UserError);
  CHECK_THROWS_AS(f.chat.answer_again(f.settings, {}), UserError);
  f.chat.set_system("Be brief.");
  f.say("three");
  CHECK(f.chat.rendered().find("system\nBe brief.<|im_end|>") != std::string::npos);
  f.chat.reset();
  CHECK(f.said().empty());
  CHECK(f.chat.system() == "Be brief.");
}

TEST_CASE("chat: a full context refuses, or forgets the oldest turns") {
  Fixture f(230);
  f.say("one");
  f.say("two");
  const Said before = f.said();
  CHECK_THROWS_WITH(f.say(std::string(60, 'x')), ContainsSubstring("/drop-oldest"));
  CHECK(f.said() == before);  // nothing was said
  f.settings.when_full = WhenFull::DropOldest;
  const ChatTurn turn = f.say(std::string(60, 'x'));
  CHECK(turn.forgotten == 2);
  CHECK(f.said() == Said{"u:two", "a:abcde", "u:" + std::string(60, 'x'), "a:abcde"});
  // One message that does not fit by itself cannot be made to.
  CHECK_THROWS_AS(f.say(std::string(300, 'x')), UserError);
  CHECK(f.said().size() == 4);
  CHECK(f.chat.forget_oldest() == 2);
  CHECK(f.chat.forget_oldest() == 0);
  CHECK(f.said().size() == 2);
}

TEST_CASE("chat: an answer is cut where the context ends") {
  Fixture f(75);
  f.settings.max_tokens = 100;
  const ChatTurn turn = f.say("hi");
  CHECK(turn.answer.finish == Finish::Context);
  CHECK(turn.used == 76);  // the last token was sampled, not seen
}

TEST_CASE("chat: an interrupt before the answer takes the message back") {
  Fixture f;
  f.say("A first message that is long enough for the second one to be a small part of it all.");
  const Said before = f.said();
  catch_interrupts();
  std::raise(SIGINT);
  const ChatTurn turn = f.say("two");
  clear_interrupt();
  CHECK(turn.unanswered());
  CHECK(f.said() == before);
  CHECK(f.say("two").answer.text == "abcde");
}

TEST_CASE("chat: an interrupt stops an answer; what was said stays") {
  Fixture f;
  f.settings.max_tokens = 20;
  catch_interrupts();
  std::string streamed;
  const ChatTurn turn = f.chat.say("one", f.settings, [&](int, std::string_view text) {
    streamed += text;
    if (streamed == "abc") std::raise(SIGINT);
  });
  clear_interrupt();
  CHECK(turn.answer.finish == Finish::Interrupted);
  CHECK_FALSE(turn.unanswered());
  CHECK(f.said() == Said{"u:one", "a:abc"});
  f.settings.max_tokens = 5;
  CHECK(f.say("two").answer.text == "abcde");
}

TEST_CASE("chat: conversations are written and taken over") {
  Fixture f;
  f.chat.set_system("Be \"brief\".");
  f.say("one");
  const std::string json = f.chat.to_json();
  CHECK(
      json ==
      R"({"messages":[{"role":"system","content":"Be \"brief\"."},{"role":"user","content":"one"},)"
      R"({"role":"assistant","content":"abcde"}]})");
  f.chat.set_system("");
  f.chat.reset();
  f.chat.take_over(chat::parse_conversation(json, "messages", "test"));
  CHECK(f.chat.system() == "Be \"brief\".");
  CHECK(f.said() == Said{"u:one", "a:abcde"});
  CHECK(f.chat.to_json() == json);
  chat::Conversation other;
  other.messages.push_back({.role = "tool", .content = "42", .extra = ""});
  CHECK_THROWS_WITH(f.chat.take_over(other), ContainsSubstring("'tool'"));
  CHECK(f.said().size() == 2);
}

TEST_CASE("chat: other attention and templates in the middle of a conversation") {
  Fixture f;
  f.say("one");
  f.chat.set_attention("topk:k=4", "");
  CHECK(f.session.attention() == "topk:k=4");
  const ChatTurn turn = f.say("two");
  CHECK(turn.answer.text == "abcde");
  CHECK(turn.timing.reused_tokens == 0);  // the keys of another attention
  CHECK(turn.kept_mass < 1);
  CHECK_THROWS_AS(f.chat.set_attention("topk:0%", ""), UserError);
  CHECK(f.say("three").answer.text == "abcde");
  f.chat.set_template(
      chat::Template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
                     "{% if add_generation_prompt %}assistant:\n{% endif %}"));
  CHECK(f.say("four").answer.text == "abcde");
  CHECK(f.chat.rendered().ends_with("user: four\nassistant: abcde\nassistant:\n"));
}

TEST_CASE("turn end: one token, or a text where the tokenizer has none for it") {
  const auto bytes = make_tokenizer("bytes", "");
  const TurnEnd end = turn_end(chatml(), *bytes, {});
  CHECK(end.texts == std::vector<std::string>{"<|im_end|>"});
  CHECK(std::count(end.ids.begin(), end.ids.end(), bytes->eos()) == 1);
  // Not its last byte: '>' is no end of an answer.
  CHECK(std::count(end.ids.begin(), end.ids.end(), '>') == 0);
}

}  // namespace pivot
