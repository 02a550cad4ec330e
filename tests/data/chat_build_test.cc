#include "data/chat_build.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "data/chat_probe.h"
#include "data/chat_show.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

using nlohmann::json;

json message(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

std::string line(const std::vector<json>& messages) {
  return json{{"messages", messages}}.dump() + "\n";
}

std::string dialogue(int number) {
  return line({message("user", "question " + std::to_string(number)),
               message("assistant", "answer " + std::string(static_cast<size_t>(number % 7), 'x') +
                                        std::to_string(number))});
}

/// A template whose text is known, so that nothing here depends on the built-in ones.
constexpr const char* kTemplate =
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

class Case {
 public:
  explicit Case(const char* source = kTemplate)
      : tokenizer(load_tokenizer("bytes")), chat_template(source) {
    options.train = {dir / "talks.jsonl"};
    options.validation.clear();
  }
  ChatTarget target() const {
    return {.tokenizer = *tokenizer,
            .chat_template = chat_template,
            .context = context,
            .out = dir / "out",
            .shard_tokens = shard_tokens,
            .overwrite = true};
  }
  ChatBuildResult build(int threads = 2) const {
    ThreadPool pool(threads);
    return build_chat(options, target(), pool);
  }
  void write(const std::string& text, const char* name = "talks.jsonl") const {
    write_file_atomically(dir / name, text);
  }
  /// Every document of a part, learnt text in {+ +}.
  std::vector<std::string> shown(const char* part) const {
    std::vector<std::string> out;
    for (const std::string& path : resolve_shards(dir / "out/" + part)) {
      const Shard shard(path);
      CHECK(shard.info().keep_whole);
      CHECK(shard.info().task.empty());
      for (int64_t d = 0; d < shard.documents(); ++d) {
        const auto tokens = shard.document(d);
        std::vector<uint8_t> learnt(tokens.size());
        shard.read_mask(shard.offsets()[static_cast<size_t>(d)], learnt);
        out.push_back(show_chat(chat_runs(*tokenizer, tokens, learnt), Style::Plain));
      }
    }
    return out;
  }

  test::TempDir dir;
  std::unique_ptr<Tokenizer> tokenizer;
  chat::Template chat_template;
  ChatDataOptions options;
  int64_t context = 0;
  int64_t shard_tokens = 1 << 20;
};

}  // namespace

TEST_CASE("chat build: what the assistant says and the end of its turn are learnt") {
  Case c;
  c.write(line({message("system", "be short"), message("user", "hi"),
                message("assistant", "hello\nyou"), message("user", "bye"),
                message("assistant", "bye")}));
  const ChatBuildResult r = c.build();
  CHECK(c.shown("train") ==
        std::vector<std::string>{"<system>be short</s><user>hi</s><assistant>{+hello\nyou</s>+}"
                                 "<user>bye</s><assistant>{+bye</s>+}"});
  CHECK(r.train.conversations == 1);
  CHECK(r.train.learnt == 9 + 4 + 3 + 4);
  CHECK(r.validation.conversations == 0);
  CHECK(r.counts.read == 1);
  c.options.learn = "last";
  CHECK(c.build().train.learnt == 3 + 4);
  CHECK(c.shown("train").front().find("hello\nyou</s><user>") != std::string::npos);
  const json written = json::parse(read_file(c.dir / "out/chat.json"));
  CHECK(written["train"]["learnt_tokens"] == 7);
  CHECK(load_tokenizer(c.dir / "out/train")->hash() == r.tokenizer_hash);
  const Shard shard(resolve_shards(c.dir / "out/train").front());
  const json parameters = json::parse(shard.info().parameters);
  CHECK(parameters["template_hash"] == r.template_hash);
  CHECK(parameters["learn"] == "last");
  CHECK(json::parse(shard.info().provenance)["files"].size() == 1);
}

TEST_CASE("chat build: a batch learns these tokens and no others") {
  Case c;
  std::string file;
  for (int i = 0; i < 40; ++i) file += dialogue(i);
  c.write(file);
  c.build();
  const auto loader = open_loader({c.dir / "out/train"}, {.seq_len = 128, .pack = PackRule::Best},
                                  3, LoaderOrder::Shuffled);
  const Batch b = loader->batch(0, loader->epoch_rows());
  std::vector<std::string> rebuilt;
  for (size_t d = 0; d + 1 < b.doc_offsets.size(); ++d) {
    const auto begin = static_cast<size_t>(b.doc_offsets[d]);
    const auto end = static_cast<size_t>(b.doc_offsets[d + 1]);
    if (b.tokens[begin] == 0) continue;  // padding
    std::vector<uint8_t> learnt(end - begin, 0);
    for (size_t t = begin; t + 1 < end; ++t) learnt[t + 1 - begin] = b.targets[t] != kNoTarget;
    const std::span tokens = std::span(b.tokens).subspan(begin, end - begin);
    rebuilt.push_back(show_chat(chat_runs(*c.tokenizer, tokens, learnt), Style::Plain));
  }
  std::vector<std::string> expected = c.shown("train");
  CHECK(expected.size() == 40);
  std::sort(expected.begin(), expected.end());
  std::sort(rebuilt.begin(), rebuilt.end());
  CHECK(rebuilt == expected);
}

TEST_CASE("chat build: the same files for any number of threads and shard size") {
  Case c;
  std::string file;
  for (int i = 0; i < 9000; ++i) file += dialogue(i);  // more than one group
  c.write(file);
  c.options.validation = {"5%"};
  const ChatBuildResult one = c.build(1);
  const auto train = c.shown("train"), validation = c.shown("validation");
  std::vector<std::string> hashes;
  for (const std::string& path : resolve_shards(c.dir / "out/train")) {
    hashes.push_back(Shard(path).content_hash());
  }
  c.build(3);
  std::vector<std::string> again;
  for (const std::string& path : resolve_shards(c.dir / "out/train")) {
    again.push_back(Shard(path).content_hash());
  }
  CHECK(again == hashes);
  c.shard_tokens = 5000;
  c.build(2);
  CHECK(resolve_shards(c.dir / "out/train").size() > 10);
  CHECK(c.shown("train") == train);
  CHECK(c.shown("validation") == validation);
  CHECK(one.validation.conversations == 450);
  CHECK(one.train.conversations == 8550);
}

TEST_CASE("chat build: what cannot be learnt from is counted, and dropped or refused") {
  Case c;
  const std::string silent = line({message("user", "nobody answers")});
  json weightless = message("assistant", "not this");
  weightless["weight"] = 0;
  const std::string masked = line({message("user", "hi"), weightless});
  const std::string longer =
      line({message("user", std::string(40, 'q')), message("assistant", std::string(60, 'a'))});
  const std::string far =
      line({message("user", std::string(120, 'q')), message("assistant", "late")});
  c.write(dialogue(1) + silent + masked + longer + far + dialogue(2));
  c.context = 100;
  ChatBuildResult r = c.build();
  CHECK(r.train.conversations == 2);
  CHECK(r.counts.read == 6);
  CHECK(r.counts.no_assistant == 1);
  CHECK(r.counts.masked == 1);
  CHECK(r.counts.longer == 2);
  CHECK(to_text(r).find("longer than 100 tokens: dropped") != std::string::npos);

  c.options.longer = "truncate";
  r = c.build();
  CHECK(r.train.conversations == 3);
  CHECK(r.counts.truncated == 1);
  CHECK(r.counts.masked == 2);  // the end that was cut off held all there was to learn
  CHECK(r.train.longest == 100);
  CHECK(c.shown("train")[1].ends_with("aaa+}"));

  c.options.longer = "refuse";
  CHECK_THROWS_WITH(c.build(), ContainsSubstring("talks.jsonl:4") && ContainsSubstring("100"));
  c.options.longer = "shorten";
  CHECK_THROWS_WITH(c.build(), ContainsSubstring("truncate"));
  c.options.longer = "drop";
  c.context = 10;
  CHECK_THROWS_WITH(c.build(), ContainsSubstring("nothing is left to learn from: 6 read"));
  c.write(silent);
  CHECK_THROWS_WITH(c.build(), ContainsSubstring("1 without a turn of the assistant"));
  c.options.train.clear();
  CHECK_THROWS_AS(c.build(), UserError);
}

TEST_CASE("chat build: bad lines stop it by file and line, or are counted") {
  Case c;
  c.write(dialogue(1) + "{\"messages\": [{\"role\"\n" + dialogue(2));
  CHECK_THROWS_WITH(c.build(), ContainsSubstring("talks.jsonl") && ContainsSubstring("2"));
  CHECK(!std::filesystem::exists(c.dir / "out"));
  c.options.skip_bad = true;
  const ChatBuildResult r = c.build();
  CHECK(r.counts.bad == 1);
  CHECK(r.train.conversations == 2);

  Case strict(
      "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system "
      "messages') }}{% endif %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}");
  strict.write(dialogue(1) +
               line({message("system", "s"), message("user", "u"), message("assistant", "a")}));
  CHECK_THROWS_WITH(strict.build(),
                    ContainsSubstring("talks.jsonl:2") && ContainsSubstring("no system messages"));
  strict.options.skip_bad = true;
  CHECK(strict.build().counts.refused == 1);
}

TEST_CASE("chat build: held out by share, by files, or not at all") {
  Case c;
  std::string file;
  for (int i = 0; i < 100; ++i) file += dialogue(i);
  c.write(file);
  c.options.validation = {"3%"};
  CHECK(c.build().validation.conversations == 3);
  c.options.validation = {"0%"};
  CHECK(c.build().validation.conversations == 0);
  CHECK(!std::filesystem::exists(c.dir / "out/validation"));
  c.options.validation = {"100%"};
  CHECK_THROWS_AS(c.build(), UserError);
  c.options.validation = {c.dir / "none.jsonl"};
  CHECK_THROWS_WITH(c.build(), ContainsSubstring("none.jsonl"));
  c.write(dialogue(1000), "held.jsonl");
  c.options.validation = {c.dir / "held.jsonl"};
  const ChatBuildResult r = c.build();
  CHECK(r.train.conversations == 100);
  CHECK(r.validation.conversations == 1);
  CHECK(c.shown("validation").front().find("question 1000") != std::string::npos);

  c.write(dialogue(1) + dialogue(2));
  c.options.validation = {"2%"};
  CHECK_THROWS_WITH(c.build(), ContainsSubstring("too few to hold out 2%"));
  ChatTarget lenient = c.target();
  lenient.few_held_out = ChatTarget::FewHeldOut::Warn;
  ThreadPool pool(1);
  CHECK(build_chat(c.options, lenient, pool).validation.conversations == 0);
}

TEST_CASE("chat build: a share holds out one of every so many neighbours") {
  for (const Rational share : {Rational{1, 50}, Rational{3, 100}, Rational{1, 2}, Rational{2, 3}}) {
    CAPTURE(share.num, share.den);
    int64_t held = 0;
    std::vector<int64_t> places;
    for (int64_t i = 0; i < 600; ++i) {
      if (is_held_out(i, share)) places.push_back(i % 50);
      held += is_held_out(i, share) ? 1 : 0;
      if ((i + 1) % share.den == 0) CHECK(held == (i + 1) / share.den * share.num);
    }
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    CHECK(places.size() > 8);  // not always the same place among them
  }
  CHECK(!is_held_out(0, {0, 1}));
}

TEST_CASE("chat build: the fingerprint is that of contents, template and options") {
  Case c;
  c.write(dialogue(1));
  const std::string first = chat_fingerprint(c.options, c.target());
  CHECK(read_chat_fingerprint(c.dir / "out").empty());
  c.build();
  CHECK(read_chat_fingerprint(c.dir / "out") == first);
  std::filesystem::rename(c.dir / "talks.jsonl", c.dir / "renamed.jsonl");
  c.options.train = {c.dir / "renamed.jsonl"};
  CHECK(chat_fingerprint(c.options, c.target()) == first);
  c.context = 50;
  CHECK(chat_fingerprint(c.options, c.target()) != first);
  c.context = 0;
  c.options.learn = "last";
  CHECK(chat_fingerprint(c.options, c.target()) != first);
  c.options.learn = "all";
  c.write(dialogue(2), "renamed.jsonl");
  CHECK(chat_fingerprint(c.options, c.target()) != first);
}

TEST_CASE("chat probe: the first conversation that is learnt from is shown and checked") {
  Case c;
  c.write(line({message("user", "nobody answers")}) + dialogue(3));
  const ChatProbe probe = probe_chat(c.options, c.target());
  CHECK(probe.place.ends_with("talks.jsonl:2"));
  CHECK(show_chat(probe.runs, Style::Plain) ==
        "<user>question 3</s><assistant>{+answer xxx3</s>+}");
  CHECK(probe.learnt == 15);
  CHECK(probe.ends_with == "> (62)");
  CHECK(probe.warnings.empty());

  const Case endless("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}");
  endless.write(dialogue(1));
  CHECK_THROWS_WITH(probe_chat(endless.options, endless.target()),
                    ContainsSubstring("would never stop"));
  c.write(line({message("user", "nobody answers")}));
  CHECK_THROWS_WITH(probe_chat(c.options, c.target()), ContainsSubstring("nothing is left"));
}

TEST_CASE("chat show: learnt text, special tokens and control characters are visible") {
  const auto t = load_tokenizer("bytes");
  std::vector<int32_t> ids = {t->bos()};
  for (const int32_t id : t->encode("q\x1b[31mé")) ids.push_back(id);
  const size_t answer = ids.size();
  for (const int32_t id : t->encode("é!")) ids.push_back(id);
  ids.push_back(t->eos());
  std::vector<uint8_t> learnt(ids.size(), 0);
  std::fill(learnt.begin() + static_cast<std::ptrdiff_t>(answer), learnt.end(), 1);
  const auto runs = chat_runs(*t, ids, learnt);
  CHECK(runs == std::vector<ChatRun>{{"<s>", false, true},
                                     {"q\x1b[31mé", false, false},
                                     {"é!", true, false},
                                     {"</s>", true, true}});
  CHECK(show_chat(runs, Style::Plain) == "<s>q<0x1B>[31mé{+é!</s>+}");
  const std::string color = show_chat(runs, Style::Color);
  CHECK(color.find("\x1b[1;32mé!\x1b[0m") != std::string::npos);
  CHECK(color.find("\x1b[2;7m<s>\x1b[0m") != std::string::npos);
  CHECK(color.find("\x1b[31m") == std::string::npos);
  CHECK(json::parse(to_json(runs)).at(2)["learnt"] == true);
  // A character cut by the border of two masks belongs to the token that ends it.
  learnt[answer] = 0;
  CHECK(chat_runs(*t, ids, learnt)[2].text == "é!");
}
