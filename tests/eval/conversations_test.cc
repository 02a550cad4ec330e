// Conversations as questions and as dialogues, from files to results.
#include "src/eval/conversations.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/eval/evaluate.h"
#include "tests/eval/tiny_model.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;
using namespace pivot::eval;

namespace {

// Each message is a letter for its role and its text; answers end with '.'.
constexpr char kTemplate[] =
    "{% for m in messages %}{% if m.role == 'assistant' %}A{% generation %}{{ m.content }}."
    "{% endgeneration %}{% else %}U{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A{% endif %}";

struct Fixture {
  test::TempDir dir;
  std::string run;
  std::string file = dir / "questions.jsonl";
  ChatFormat format{chat::Template(kTemplate), make_tokenizer("bytes", "")};

  Fixture() {
    log::set_level(log::Level::Off);
    test::TestContext ctx;
    test::TinyModel tiny("dense", ctx);
    run = tiny.save(dir / "run", *format.tokenizer, "topk:k=4");
    write_file_atomically(dir / "template", kTemplate);
  }
  ~Fixture() { log::set_level(log::Level::Info); }

  std::vector<Question> read(const std::string& text) const {
    write_file_atomically(file, text);
    return read_questions(file, format);
  }
  std::string prompt(const Question& q) const { return format.tokenizer->decode(q.prompt); }
  EvalOptions options(const std::string& task) const {
    EvalOptions o;
    o.model = run;
    o.questions = {file};
    o.task = task;
    o.chat_template = dir / "template";
    o.tokens = 6;
    o.device = "cpu";
    o.threads = 2;
    o.batch = 3;
    return o;
  }
};

std::string line(const std::string& question, const std::string& answer) {
  return nlohmann::json{{"messages",
                         {{{"role", "user"}, {"content", question}},
                          {{"role", "assistant"}, {"content", answer}}}}}
             .dump() +
         "\n";
}

std::string some_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += line(std::string(1 + 2 * i, 'q'), std::string(1 + i, 'x'));
  return text;
}

}  // namespace

TEST_CASE("questions: the last message, or a list of answers", "[eval]") {
  const Fixture f;
  const auto questions =
      f.read(line("one", "two") + "\n" +
             R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},)"
             R"({"role":"user","content":"c"}],"answers":["d","e"],"cluster":"k"})"
             "\n   \n" +
             R"({"messages":[{"role":"user","content":"a"}],"answers":["an"],"cluster":7})");
  REQUIRE(questions.size() == 3);
  CHECK(f.prompt(questions[0]) == "UoneA");
  CHECK(questions[0].answers == std::vector<std::string>{"two"});
  CHECK(questions[0].cluster.empty());
  CHECK(f.prompt(questions[1]) == "UaAb.UcA");
  CHECK(questions[1].answers == std::vector<std::string>{"d", "e"});
  CHECK(questions[1].cluster == "k");
  CHECK(questions[2].cluster == "7");
  CHECK(questions[2].id == 2);
}

TEST_CASE("questions: bad lines are named", "[eval]") {
  const Fixture f;
  const std::string good = line("a", "b");
  CHECK_THROWS_AS(f.read(""), UserError);
  CHECK_THROWS_WITH(f.read(good + "{\n"), ContainsSubstring("questions.jsonl:2"));
  CHECK_THROWS_WITH(f.read("\n" + good + "[1]\n"), ContainsSubstring(":3"));
  const auto with = [&](const std::string& keys) {
    return f.read(good + R"({"messages":[{"role":"user","content":"a"}])" + keys + "}\n");
  };
  CHECK_THROWS_WITH(with(""), ContainsSubstring("not the assistant's"));
  CHECK_THROWS_WITH(with(R"(,"answers":"b")"), ContainsSubstring("no list"));
  CHECK_THROWS_WITH(with(R"(,"answers":[])"), ContainsSubstring("no list"));
  CHECK_THROWS_WITH(with(R"(,"answers":[1])"), ContainsSubstring("else than texts"));
  CHECK(with(R"(,"answers":["b"])").size() == 2);
  CHECK_THROWS_WITH(with(R"(,"answers":["b"],"cluster":[1])"), ContainsSubstring("cluster"));
  const std::string answered = good.substr(0, good.size() - 2) + R"(,"answers":["b"]})" + "\n";
  CHECK_THROWS_WITH(f.read(answered), ContainsSubstring("not the user's"));
  CHECK_THROWS_AS(read_questions(f.dir / "nowhere.jsonl", f.format), UserError);
}

TEST_CASE("dialogues: what the assistant says is asked, and nothing else", "[eval]") {
  const Fixture f;
  write_file_atomically(f.file, line("one", "two") + line("q", ""));
  const auto corpus = open_dialogues(f.file, f.format);
  REQUIRE(corpus->size() == 2);
  CHECK(corpus->masked());
  CHECK(corpus->tokenizer_hash() == f.format.tokenizer->hash());
  const Item item = corpus->item(0);
  REQUIRE(item.documents.size() == 1);
  const EvalDocument& d = item.documents[0];
  CHECK(f.format.tokenizer->decode(d.tokens) == "UoneAtwo.");
  std::string asked;
  for (const int64_t row : asked_rows(d)) {
    asked += static_cast<char>(d.targets[static_cast<size_t>(row)]);
  }
  CHECK(asked == "two.");
  CHECK(item.bytes == 4);
}

TEST_CASE("answers: several specs, compared, with lengths and samples", "[eval]") {
  const Fixture f;
  write_file_atomically(f.file, some_lines(12));
  EvalOptions o = f.options("auto");
  o.attn = {"dense", "topk:k=2"};
  std::string lines;
  const ResultFile file = evaluate(o, [&](const std::string& l) { lines += l; });
  REQUIRE(file.results.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    const EvalResult& r = file.results[i];
    CHECK(r.data == "questions");
    CHECK(r.task == "answers");
    CHECK(r.mode == "decode");
    CHECK(r.items == 12);
    CHECK(r.metrics.at("substring_match").n == 12);
    CHECK(r.metrics.at("reply_tokens").value <= 6);
    CHECK(r.interval.has_value());
    CHECK(r.lengths.size() == 4);  // prompts of 3 to 25 bytes
    CHECK(r.against_first.has_value() == (i == 1));
    CHECK(r.other_comparisons.size() == 2 * i);
    CHECK(r.kept_mass.size() == 2);
  }
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 24);
  const auto json = nlohmann::json::parse(to_json(file));
  const auto& second = json["results"][1];
  CHECK(second["against_first"]["metric"] == "substring_match");
  CHECK(second["others_against_first"][1]["metric"] == "f1");
  CHECK(second["by_prompt_length"][0]["from"] == 2);
  CHECK(second["wilson95"].size() == 2);
  CHECK(to_table(file.results).find("substring_match") != std::string::npos);

  // What the model says is right when it is what it says.
  std::vector<std::string> replies;
  std::string text;
  for (size_t i = 0; i < 12; ++i) {
    const auto sample = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
    lines.erase(0, lines.find('\n') + 1);
    CHECK(sample["id"] == i);
    text += line(std::string(1 + 2 * i, 'q'), sample["reply"].get<std::string>());
  }
  write_file_atomically(f.file, text);
  o.attn = {"dense"};
  CHECK(evaluate(o, {}).results[0].metrics.at("exact_match").value == 1);
  o.limit = 5;
  CHECK(evaluate(o, {}).results[0].items == 5);
}

TEST_CASE("dialogues: the loss of the same masked shard, in both modes", "[eval]") {
  const Fixture f;
  const std::string conversations = some_lines(9);
  write_file_atomically(f.file, conversations);
  EvalOptions o = f.options("dialogues");
  o.attn = {"dense", "topk:k=2"};
  o.mode = {"train", "decode"};
  const ResultFile file = evaluate(o, {});
  REQUIRE(file.results.size() == 4);
  const auto loss = [](const EvalResult& r) { return r.metrics.at("loss"); };
  int64_t learnt = 0;
  for (int i = 0; i < 9; ++i) learnt += 2 + i;  // x... and '.'
  for (const EvalResult& r : file.results) CHECK(loss(r).n == learnt);
  CHECK(loss(file.results[0]).value == Approx(loss(file.results[2]).value).margin(2e-4));
  CHECK(loss(file.results[1]).value == Approx(loss(file.results[3]).value).margin(2e-4));
  CHECK(std::abs(loss(file.results[0]).value - loss(file.results[1]).value) > 1e-3);

  // The same conversations as a shard with a loss mask.
  ShardInfo info;
  info.tokenizer_kind = f.format.tokenizer->kind();
  info.tokenizer_hash = f.format.tokenizer->hash();
  info.vocab = f.format.tokenizer->vocab();
  info.keep_whole = true;
  info.parameters = info.provenance = "{}";
  ShardWriter writer(f.dir / "shard", info, token_byte_table(*f.format.tokenizer), 1 << 20);
  for (int i = 0; i < 9; ++i) {
    const int64_t begin = 2 * i + 3;
    const auto tokens = f.format.tokenizer->encode("U" + std::string(1 + 2 * i, 'q') + "A" +
                                                   std::string(1 + i, 'x') + ".");
    const std::vector<TokenSpan> spans = {{begin, static_cast<int64_t>(tokens.size())}};
    writer.add(tokens, static_cast<int64_t>(tokens.size()), ShardWriter::Mask::Spans, spans);
  }
  writer.finish();
  EvalOptions shard = o;
  shard.questions.clear();
  shard.chat_template.clear();
  shard.data = {f.dir / "shard"};
  shard.task = "perplexity";
  shard.seq_len = 64;
  const ResultFile masked = evaluate(shard, {});
  REQUIRE(masked.results.size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    CHECK(loss(masked.results[i]).n == learnt);
    CHECK(loss(masked.results[i]).value == Approx(loss(file.results[i]).value).margin(2e-4));
    CHECK(masked.results[i].metrics.at("bits_per_byte").value ==
          Approx(loss(masked.results[i]).value / std::log(2.0)));
  }
}

TEST_CASE("options that do not go together are refused", "[eval]") {
  const Fixture f;
  write_file_atomically(f.file, some_lines(2));
  EvalOptions o = f.options("answers");
  o.mode = {"train"};
  CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("--mode train"));
  o = f.options("perplexity");
  CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("--questions"));
  o = f.options("answers");
  o.data = {f.file};
  CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("--data"));
  o = f.options("answers");
  o.tokens = 0;
  CHECK_THROWS_AS(evaluate(o, {}), UserError);
  o = f.options("answers");
  o.chat_template.clear();
  CHECK_THROWS_WITH(evaluate(o, {}), ContainsSubstring("template"));
  o = f.options("auto");
  o.questions.clear();
  CHECK_THROWS_AS(evaluate(o, {}), UserError);
}
