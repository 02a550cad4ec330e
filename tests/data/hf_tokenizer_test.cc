#include <filesystem>
#include <fstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "data/hf/tokenizer.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;
namespace fs = std::filesystem;
using nlohmann::json;
using Ids = std::vector<int32_t>;

namespace {

const std::string kFixtures = "tests/data/tokenizers/";

std::string stream(const Tokenizer& t, const Ids& ids) {
  StreamDecoder decoder(t);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

std::string shown(const std::string& bytes) {
  size_t replaced = 0;
  return replace_invalid_utf8(bytes, &replaced);
}

/// A byte-level tokenizer.json of a few tokens, changed by `patch`.
std::string small_json(const json& patch = json::object()) {
  json vocab = json::object();
  int id = 0;
  for (const char* token : {"a", "b", "c", "ab", "abc", "Ġ"}) vocab[token] = id++;
  json file = {
      {"version", "1.0"},
      {"added_tokens", json::array({{{"id", 6}, {"content", "<s>"}, {"special", true}}})},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array({"a b", "ab c"})}}}};
  file.merge_patch(patch);
  return file.dump();
}

std::unique_ptr<Tokenizer> small(const json& patch = json::object(),
                                 const std::string& config = {}) {
  return hf::make_huggingface(small_json(patch), config, "tokenizer.json");
}

/// A tokenizer handed to the developers of this program, not part of it; null where it is not.
std::unique_ptr<Tokenizer> real(const std::string& name) {
  const std::string path = "../shared/tokenizers/" + name;
  if (!fs::exists(path)) return nullptr;
  return load_tokenizer(path);
}

}  // namespace

TEST_CASE("ids, spans and texts are those of the tokenizers package") {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(kFixtures)) {
    if (entry.path().extension() != ".json") continue;
    ++files;
    const auto t = load_tokenizer(entry.path());
    CAPTURE(entry.path());
    std::ifstream cases(fs::path(entry.path()).replace_extension(".jsonl"));
    std::string line;
    int lines = 0;
    for (; std::getline(cases, line); ++lines) {
      const json c = json::parse(line);
      const auto text = c["text"].get<std::string>();
      CAPTURE(text);
      const Ids ids = t->encode(text);
      CHECK(ids == c["ids"].get<Ids>());
      CHECK(t->encode(text) == ids);  // from the cache
      CHECK(t->add_special(ids) == c["special"].get<Ids>());
      CHECK(shown(t->decode(ids)) == c["decoded"].get<std::string>());
      CHECK(stream(*t, ids) == c["decoded"].get<std::string>());
      const Encoding e = t->encode_spans(text, SpecialText::Parse);
      CHECK(e.ids == ids);
      if (!c.contains("offsets")) continue;
      std::vector<std::vector<int64_t>> spans;
      for (size_t i = 0; i < e.ids.size(); ++i) spans.push_back({e.begin[i], e.end[i]});
      CHECK(spans == c["offsets"].get<std::vector<std::vector<int64_t>>>());
    }
    CHECK(lines == 30);
  }
  CHECK(files == 11);
}

TEST_CASE("published ids of Llama-3 and Qwen3") {
  struct Case {
    const char* text;
    Ids llama3, qwen3;
  };
  const Case cases[] = {
      {"Hello world", {9906, 1917}, {9707, 1879}},
      {" Hello  world", {22691, 220, 1917}, {21927, 220, 1879}},
      {"I'M we'LL don't",
       {40, 28703, 584, 6, 4178, 1541, 956},
       {40, 27603, 582, 6, 4086, 1513, 944}},
      {"12345678", {4513, 10961, 2495}, {16, 17, 18, 19, 20, 21, 22, 23}},
      {"a\n\n\nb", {64, 1432, 65}, {64, 1406, 65}},
      {"x \n\n y", {87, 4815, 379}, {87, 4710, 379}},
      {"\u00e9 vs e\u0301", {978, 6296, 384, 54939}, {963, 6165, 3958}},
      {"<|eot_id|> x <|im_end|>",
       {128009, 865, 83739, 318, 6345, 91, 29},
       {27, 91, 68, 354, 842, 91, 29, 856, 220, 151645}},
      {"trailing   ", {376, 14612, 262}, {376, 14277, 262}},
      {"\u00a0nbsp", {4194, 5792}, {4102, 5674}},
      {"\u0663\u0664\u0665 \u00bd \u216b",
       {117413, 124079, 124043, 220, 27154, 220, 71567, 104},
       {149, 96, 149, 97, 149, 98, 220, 26062, 220, 70467, 104}},
      {"foo_bar.baz(1);\r\n\r\n",
       {8134, 14725, 960, 1394, 7, 16, 3155},
       {7975, 14388, 948, 1370, 7, 16, 3079}},
      {"<think>\n\n</think>\n\n", {14023, 771, 1363, 524, 27963, 1363}, {151667, 271, 151668, 271}},
      {"\U0001f642\U0001f469\u200d\U0001f469\u200d\U0001f467",
       {9468, 19044, 9468, 239, 102, 102470, 9468, 239, 102, 102470, 9468, 239, 100},
       {145080, 145233, 378, 235, 145233, 378, 235, 145665}},
      {"\u0928\u092e\u0938\u094d\u0924\u0947",
       {61196, 88344, 79468, 100365, 35470},
       {60096, 87244, 78368, 30484, 97, 34370}},
      {"a  \n  b", {64, 2355, 220, 293}, {64, 2303, 220, 293}},
      {"HELLO'S", {51812, 1623, 13575}, {50712, 1593, 13272}},
      {"\u200b\ufeffx", {16067, 3305, 87}, {15692, 3225, 87}},
      {"  \n", {2355}, {2303}},
      {"\u3000\u4f60", {23249, 57668}, {22441, 56568}}};
  const auto llama3 = real("llama3");
  const auto qwen3 = real("qwen3");
  if (!llama3 || !qwen3) {
    WARN("skipped: ../shared/tokenizers/llama3 and qwen3 are not here");
    return;
  }
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(llama3->encode(c.text) == c.llama3);
    CHECK(qwen3->encode(c.text) == c.qwen3);
    CHECK(llama3->decode(c.llama3) == c.text);
  }
  CHECK(llama3->vocab() == 128256);
  CHECK(llama3->bos() == 128000);
  CHECK(llama3->eos() == 128001);
  CHECK(qwen3->vocab() == 151669);
  CHECK(qwen3->bos() == -1);
  CHECK(qwen3->eos() == 151645);
  CHECK(qwen3->find_piece("<|im_end|>") == 151645);
  CHECK(qwen3->token_bytes(151645) == 0);
  CHECK(qwen3->encode_spans("<|im_end|>", SpecialText::Plain).ids ==
        Ids{27, 91, 318, 6213, 91, 29});
  // Two bytes and a combining mark become one character.
  const Encoding e = qwen3->encode_spans("x e\u0301y", SpecialText::Parse);
  CHECK(e.begin == std::vector<int64_t>{0, 1, 5});
  CHECK(e.end == std::vector<int64_t>{1, 5, 6});
}

TEST_CASE("byte-level texts come back, valid or not") {
  const auto t = load_tokenizer(kFixtures + "byte_level_llama3_template.json");
  std::string all;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  for (const std::string& text : {std::string("caf\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80 \r\n\t "),
                                  std::string("nul \0 x", 7)}) {
    CHECK(t->decode(t->encode(text)) == text);
  }
  CHECK(t->decode(t->encode(all)) == shown(all));
  // Two invalid parts, the second of two bytes.
  const Encoding e = t->encode_spans("a\xFF\xE2\x82z", SpecialText::Parse);
  CHECK(t->decode(e.ids) == "a\uFFFD\uFFFDz");
  CHECK(e.begin.front() == 0);
  CHECK(e.end.back() == 5);
  for (size_t i = 0; i < e.ids.size(); ++i) {
    const bool second = e.begin[i] == 2;
    if (second) CHECK(e.end[i] == 4);
  }
  CHECK_THROWS_AS(t->decode(Ids{static_cast<int32_t>(t->vocab())}), UserError);
  CHECK_THROWS_AS(t->piece(-1), UserError);
}

TEST_CASE("special tokens spelt in plain text are text") {
  // A vocabulary whose merges spell its special token.
  const json patch = {
      {"added_tokens", json::array({{{"id", 4}, {"content", "abc"}, {"special", true}}})}};
  const auto t = small(patch);
  CHECK(t->encode("abcab") == Ids{4, 3});
  CHECK(t->encode_spans("abcab", SpecialText::Parse).ids == Ids{4, 3});
  CHECK(t->encode_spans("abcab", SpecialText::Plain).ids == Ids{3, 2, 3});
  CHECK(t->encode("abcab") == Ids{4, 3});
  json whole = patch;
  whole["model"] = {{"ignore_merges", true}};
  CHECK(small(whole)->encode_spans("abc", SpecialText::Plain).ids == Ids{3, 2});
  const auto unigram = load_tokenizer(kFixtures + "unigram.json");
  for (const int32_t id : unigram->encode_spans("a<s>b</s>", SpecialText::Plain).ids) {
    CHECK(id != unigram->find_piece("<s>"));
    CHECK(id != unigram->find_piece("</s>"));
  }
}

TEST_CASE("bos, eos and what surrounds a text come from the configuration") {
  CHECK(small()->bos() == 6);  // a well-known name
  CHECK(small()->eos() == -1);
  CHECK(small()->unk() == -1);
  CHECK(small()->add_special({0}) == Ids{0});
  const auto t =
      small(json::object(),
            R"({"bos_token": null, "eos_token": {"content": "<s>"}, "add_eos_token": true})");
  CHECK(t->bos() == -1);
  CHECK(t->eos() == 6);
  CHECK(t->add_special({0}) == Ids{0, 6});
  CHECK(t->piece(5) == "Ġ");
  CHECK(t->token_bytes(5) == 1);
  CHECK(t->token_bytes(6) == 0);
  // Flags of the configuration win; tokens it adds go on behind the file's.
  const auto more = small(json::object(), R"({"added_tokens_decoder": {
      "6": {"content": "<s>", "special": true, "rstrip": true},
      "7": {"content": "<x>", "special": false}}})");
  CHECK(more->encode("<s>  a<x>") == Ids{6, 0, 7});
  CHECK(more->vocab() == 8);
  CHECK(more->token_bytes(7) == 3);
}

TEST_CASE("tokenizers with their configuration go to directories and back") {
  const test::TempDir dir;
  write_file_atomically(dir / "tokenizer.json", small_json());
  write_file_atomically(dir / "tokenizer.model", "never read");
  CHECK(load_tokenizer(dir.path())->config().empty());
  write_file_atomically(dir / "tokenizer_config.json", R"({"eos_token": "<s>"})");
  write_file_atomically(dir / "chat_template.jinja", "{{ messages }}");
  const auto t = load_tokenizer(dir.path());
  CHECK(t->kind() == "huggingface");
  CHECK(t->eos() == 6);
  CHECK(json::parse(t->config())["chat_template"] == "{{ messages }}");
  CHECK(load_tokenizer(dir / "tokenizer.json")->config() == t->config());
  const test::TempDir copy;
  save_tokenizer(*t, copy.path());
  const auto again = load_tokenizer(copy.path());
  CHECK(again->hash() == t->hash());
  CHECK(again->config() == t->config());
  CHECK(make_tokenizer(t->kind(), t->model_bytes(), t->config())->eos() == 6);
  write_file_atomically(dir / "tokenizer_config.json", "{");
  CHECK_THROWS_WITH(load_tokenizer(dir.path()), ContainsSubstring("bad JSON"));
}

TEST_CASE("what is not supported or not sound is refused by name") {
  const auto refused = [](const json& patch, const std::string& message) {
    CAPTURE(message);
    CHECK_THROWS_WITH(small(patch), ContainsSubstring(message));
  };
  refused({{"model", {{"type", "WordPiece"}}}}, "'WordPiece' is not supported");
  refused({{"model", {{"dropout", 0.1}}}}, "dropout");
  refused({{"normalizer", {{"type", "BertNormalizer"}}}}, "'BertNormalizer' is not supported");
  refused({{"normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}}},
          "'Precompiled'");
  refused({{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}, "'UnicodeScripts'");
  refused({{"decoder", {{"type", "WordPiece"}}}}, "'WordPiece'");
  refused({{"post_processor", {{"type", "Other"}}}}, "'Other'");
  refused({{"model", {{"merges", json::array({"a x"})}}}}, "needs the token 'x'");
  refused({{"model", {{"merges", json::array({"c b"})}}}}, "needs the token 'cb'");
  refused({{"model", {{"merges", json::array({"a b c"})}}}}, "every merge must be");
  refused({{"model", {{"vocab", {{"d", 3}}}}}}, "given twice");
  refused({{"model", {{"vocab", {{"d", 7}}}}}}, "without gaps");
  refused({{"model", {{"vocab", {{"d", 4000000000}}}}}}, "without gaps");
  refused({{"model", {{"vocab", {{"d", -1}}}}}}, "must have an id");
  refused({{"model", {{"vocab", {{"d", "x"}}}}}}, "must have an id");
  refused({{"added_tokens", json::array({{{"id", 9}, {"content", "<s>"}}})}},
          "is given id 9, but has 6");
  refused({{"added_tokens", json::array({{{"id", 1}, {"content", "a"}}})}},
          "is given id 1, but has 0");
  refused({{"version", "2.0"}}, "version '2.0'");
  const auto regex = [&](const std::string& pattern) {
    return json{{"pre_tokenizer",
                 {{"type", "Split"},
                  {"add_prefix_space", nullptr},
                  {"pattern", {{"Regex", pattern}}},
                  {"behavior", "Isolated"}}}};
  };
  refused(regex("(a"), "bad regular expression");
  refused(regex("\\bx"), "\\b in the regular expression");
  refused(regex("[a&&b]"), "'&&'");
  refused(regex("[[:alpha:]]"), "bracket inside a class");
  refused(regex("\\p{Klingon}"), "\\p{Klingon}");
  CHECK_THROWS_WITH(small(regex("(a+)+$"))->encode(std::string(60, 'a') + "b"),
                    ContainsSubstring("too costly"));
}

TEST_CASE("malformed tokenizer.json is refused") {
  const auto read = [](const std::string& bytes) { hf::make_huggingface(bytes, "", "x.json"); };
  CHECK_THROWS_WITH(read(""), ContainsSubstring("x.json: bad JSON"));
  CHECK_THROWS_WITH(read("[]"), ContainsSubstring("an object is needed"));
  CHECK_THROWS_WITH(read("{}"), ContainsSubstring("model: an object is needed"));
  CHECK_THROWS_WITH(read(R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})"),
                    ContainsSubstring("comes twice"));
  CHECK_THROWS_WITH(read(R"({"model": {"type": "BPE", "vocab": {}, "vocab": {}}})"),
                    ContainsSubstring("'vocab' comes twice"));
  CHECK_THROWS_WITH(read(R"({"model": {"type": "BPE", "vocab": [["a", 0]], "merges": []}})"),
                    ContainsSubstring("needs 'vocab'"));
  CHECK_THROWS_WITH(read(R"({"model": {"type": "Unigram", "vocab": [["a"]]}})"),
                    ContainsSubstring("[\"token\", score]"));
  CHECK_THROWS_WITH(read(R"({"model": {"type": "Unigram", "unk_id": 5, "vocab": [["a", 0]]}})"),
                    ContainsSubstring("'unk_id' must be a whole number from 0 to 0"));
  CHECK_THROWS_WITH(read(std::string(1000, '[')), ContainsSubstring("nested"));
  CHECK_THROWS_WITH(read("{\"model\": {\"vocab\": {\"\xFF\": 0}}}"), ContainsSubstring("bad JSON"));
  std::string cut = small_json();
  cut.resize(cut.size() / 2);
  CHECK_THROWS_WITH(read(cut), ContainsSubstring("bad JSON"));
}

TEST_CASE("a megabyte without a gap is encoded in time") {
  const auto t = load_tokenizer(kFixtures + "bpe_llama_2.json");
  const std::string text(1 << 20, 'x');
  CHECK(t->decode(t->encode(text)) == text);
}

TEST_CASE("threads share a tokenizer") {
  const auto t = load_tokenizer(kFixtures + "byte_level_qwen2_nfc.json");
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "the quick word " + std::to_string(i * 7919) + " don't\n";
  const Ids expected = t->encode(text);
  std::vector<Ids> got(4);
  std::vector<std::thread> threads;
  for (Ids& ids : got) threads.emplace_back([&] { ids = t->encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : got) CHECK(ids == expected);
}
