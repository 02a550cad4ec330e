#include "data/synth.h"

#include <filesystem>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "data/synth_build.h"
#include "src/base/check.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

SynthOptions options_for(const std::string& task) {
  SynthOptions o;
  o.task = task;
  o.length = 200;
  o.pairs = task == "json" ? 0 : 12;
  if (task == "passkey" || task == "json") o.length = 900;
  return o;
}

std::string answer_text(const Tokenizer& t, const SynthDocument& d, size_t i) {
  const TokenSpan s = d.answers[i];
  return t.decode(std::span(d.tokens).subspan(static_cast<size_t>(s.begin),
                                              static_cast<size_t>(s.end - s.begin)));
}

/// What the first pair of `key` says, looking only at tokens before `at`.
int32_t first_value(const SynthDocument& d, int64_t at) {
  const int32_t key = d.tokens[static_cast<size_t>(at - 1)];
  for (int64_t t = 0; t < at - 1; ++t) {
    if (d.tokens[static_cast<size_t>(t)] == key) return d.tokens[static_cast<size_t>(t + 1)];
  }
  return -1;
}

}  // namespace

TEST_CASE("synth: documents are pure functions of seed and index, and fit") {
  const auto t = load_tokenizer("bytes");
  for (const char* name : {"mqar", "recall", "induction", "majority", "passkey", "json"}) {
    CAPTURE(name);
    SynthOptions o = options_for(name);
    const auto task = make_synth_task(o, *t);
    std::set<std::vector<int32_t>> all;
    for (uint64_t i = 0; i < 50; ++i) {
      const SynthDocument d = task->generate(i);
      CHECK(static_cast<int64_t>(d.tokens.size()) <= o.length);
      REQUIRE_FALSE(d.answers.empty());
      int64_t last = 1;
      for (const TokenSpan s : d.answers) {
        REQUIRE(s.begin >= last);
        REQUIRE(s.begin < s.end);
        last = s.end;
      }
      REQUIRE(last <= static_cast<int64_t>(d.tokens.size()));
      all.insert(d.tokens);
    }
    CHECK(all.size() == 50);
    CHECK(make_synth_task(o, *t)->generate(17).tokens == task->generate(17).tokens);
    CHECK(all.count(task->generate(kValidationIndex).tokens) == 0);
    o.seed = 1;
    CHECK(make_synth_task(o, *t)->generate(17).tokens != task->generate(17).tokens);
  }
}

TEST_CASE("synth: answers of the token tasks follow from the context") {
  const auto t = load_tokenizer("bytes");
  SynthOptions o = options_for("mqar");
  o.vocab_keys = 40;
  o.vocab_values = 40;
  o.noise = GENERATE(0.0, 0.5);
  o.noise_symbols = GENERATE(1, 20);
  o.queries = GENERATE(0, 12, 30);
  o.length = GENERATE(0, 200);
  o.gap = 3;
  o.pairs_min = 4;
  CAPTURE(o.noise, o.noise_symbols, o.queries, o.length);
  for (const char* name : {"mqar", "recall"}) {
    o.task = name;
    const auto task = make_synth_task(o, *t);
    std::set<size_t> pair_counts;
    for (uint64_t i = 0; i < 40; ++i) {
      const SynthDocument d = task->generate(i);
      if (o.length > 0) CHECK(static_cast<int64_t>(d.tokens.size()) == o.length);
      if (o.queries > 0) CHECK(static_cast<int64_t>(d.answers.size()) == o.queries);
      for (const TokenSpan s : d.answers) {
        REQUIRE(s.end == s.begin + 1);
        REQUIRE(first_value(d, s.begin) == d.tokens[static_cast<size_t>(s.begin)]);
        REQUIRE(d.tokens[static_cast<size_t>(s.begin - 1)] < 40);  // a key
        REQUIRE(d.tokens[static_cast<size_t>(s.begin)] >= 40);     // a value
        REQUIRE(d.tokens[static_cast<size_t>(s.begin)] < 80);
      }
    }
  }
}

TEST_CASE("synth: mqar asks every pair once before any pair twice") {
  const auto t = load_tokenizer("bytes");
  SynthOptions o = options_for("mqar");
  o.queries = 24;
  const SynthDocument d = make_synth_task(o, *t)->generate(3);
  std::map<int32_t, int> asked;
  for (size_t i = 0; i < 24; ++i) {
    ++asked[d.tokens[static_cast<size_t>(d.answers[i].begin - 1)]];
    if (i == 11) CHECK(asked.size() == 12);
  }
  for (const auto& [key, times] : asked) CHECK(times == 2);
}

TEST_CASE("synth: induction repeats, majority counts") {
  const auto t = load_tokenizer("bytes");
  SynthOptions o = options_for("induction");
  o.pairs_min = 5;
  for (uint64_t i = 0; i < 30; ++i) {
    const SynthDocument d = make_synth_task(o, *t)->generate(i);
    for (int64_t at = d.answers[0].begin; at < d.answers[0].end; ++at) {
      REQUIRE(first_value(d, at) == d.tokens[static_cast<size_t>(at)]);
    }
  }
  o = options_for("majority");
  o.queries = 4;
  const int32_t marker = task_symbols(*t).back();
  for (uint64_t i = 0; i < 30; ++i) {
    const SynthDocument d = make_synth_task(o, *t)->generate(i);
    std::map<int32_t, int> counts;
    size_t next = 0;
    for (int64_t at = 0; at < static_cast<int64_t>(d.tokens.size()); ++at) {
      const int32_t token = d.tokens[static_cast<size_t>(at)];
      if (next < d.answers.size() && at == d.answers[next].begin) {
        for (const auto& [symbol, n] : counts) {
          if (symbol != token) REQUIRE(n < counts[token]);
        }
        ++next;
      } else if (token != marker) {
        ++counts[token];
      }
    }
    CHECK(next == d.answers.size());
  }
}

TEST_CASE("synth: text tasks are answered by the text") {
  const auto t = load_tokenizer("bytes");
  SynthOptions o = options_for("passkey");
  std::set<size_t> places;
  for (uint64_t i = 0; i < 20; ++i) {
    const SynthDocument d = make_synth_task(o, *t)->generate(i);
    const std::string text = t->decode(d.tokens);
    const std::string key = answer_text(*t, d, 0);
    CHECK(key.size() == 4);
    CHECK(text.find("The pass key is " + key + ". Remember it.") != std::string::npos);
    CHECK(text.size() > 840);  // close to the length asked for
    places.insert(text.find(key) / 100);
  }
  CHECK(places.size() > 4);
  o = options_for("json");
  o.queries = 3;
  for (uint64_t i = 0; i < 20; ++i) {
    const SynthDocument d = make_synth_task(o, *t)->generate(i);
    const std::string text = t->decode(d.tokens);
    const nlohmann::json pairs = nlohmann::json::parse(text.substr(0, text.find('}') + 1));
    CHECK(pairs.size() > 30);
    REQUIRE(d.answers.size() == 3);
    for (size_t a = 0; a < 3; ++a) {
      const std::string before =
          t->decode(std::span(d.tokens).first(static_cast<size_t>(d.answers[a].begin)));
      const std::string key = before.substr(before.size() - 8, 4);
      CHECK(pairs.at(key) == answer_text(*t, d, a));
    }
  }
}

TEST_CASE("synth: impossible options are refused") {
  const auto t = load_tokenizer("bytes");
  const auto fails = [&](auto change, const char* task = "mqar") {
    SynthOptions o = options_for(task);
    change(o);
    CHECK_THROWS_AS(make_synth_task(o, *t), UserError);
  };
  fails([](SynthOptions& o) { o.task = "mqr"; });
  fails([](SynthOptions& o) { o.pairs = 0; });
  fails([](SynthOptions& o) { o.pairs = 150; });
  fails([](SynthOptions& o) { o.pairs_min = 13; });
  fails([](SynthOptions& o) { o.vocab_keys = 5; });
  fails([](SynthOptions& o) { o.vocab_keys = 300; });
  fails([](SynthOptions& o) { o.noise = 1; });
  fails([](SynthOptions& o) { o.learn = "none"; });
  fails([](SynthOptions& o) { o.length = 20; }, "recall");
  fails([](SynthOptions& o) { o.length = 13; }, "induction");
  fails([](SynthOptions& o) { o.length = 60; }, "passkey");
  SynthOptions o = options_for("mqar");
  o.task = "mqr";
  CHECK_THROWS_WITH(make_synth_task(o, *t), ContainsSubstring("did you mean 'mqar'"));
}

TEST_CASE("synth: shards carry the task, its answers and its options") {
  const test::TempDir dir;
  SynthBuildOptions b;
  b.synth = options_for("mqar");
  b.count = 300;
  b.validation_count = 20;
  b.tokenizer = "bytes";
  b.out = dir / "mqar";
  const SynthBuildResult r = build_synth(b);
  CHECK(r.train_documents == 300);
  CHECK(r.train_tokens == 300 * 200);
  const Shard train(resolve_shards(b.out + "/train").front());
  const Shard validation(resolve_shards(b.out + "/validation").front());
  CHECK(train.info().task == "mqar");
  CHECK(train.info().keep_whole);
  CHECK(nlohmann::json::parse(train.info().parameters).at("pairs") == "12");
  const auto t = load_tokenizer(b.out + "/train");
  const auto task = make_synth_task(b.synth, *t);
  CHECK(train.document(250) == task->generate(250).tokens);
  CHECK(train.learnt_in(250) == task->generate(250).answers);
  CHECK(validation.document(3) == task->generate(kValidationIndex + 3).tokens);
  // Golden: the same on every machine and in every version, or data sets change silently.
  CHECK(train.content_hash() == "b83235a213d194fe");
  b.synth.learn = "all";
  b.out = dir / "all";
  build_synth(b);
  CHECK_FALSE(Shard(resolve_shards(b.out + "/train").front()).masked());
}
