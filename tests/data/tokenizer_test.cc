#include "data/tokenizer.h"

#include <filesystem>

#include "data/tokenizer_train.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

std::string sample_text() {
  const char* words[] = {"attention", "keeps", "the", "largest", "scores", "and",         "drops",
                         "every",     "other", "key", "query",   "value",  "caf\xC3\xA9", "42"};
  const Philox random(1, Stream::Test);
  std::string text;
  for (uint64_t i = 0; i < 6000; ++i) {
    text += words[random.below(14, i)];
    text += i % 11 == 10 ? ".\n" : i % 7 == 6 ? ",  " : " ";
  }
  return text;
}

TokenizerTrainOptions train_options(const test::TempDir& dir, const std::string& type) {
  write_file_atomically(dir / "text.txt", sample_text());
  TokenizerTrainOptions o;
  o.documents.input = {dir / "text.txt"};
  o.vocab = 310;
  o.model_type = type;
  o.reserved = 8;
  o.out = dir / (type + ".model");
  return o;
}

/// Texts that tokenizers like to change.
std::vector<std::string> odd_texts() {
  std::string all;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  return {"",
          " ",
          "  two  spaces  ",
          "\n\n\ttabs\r\n",
          "caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80",
          "e\xCC\x81 \xEF\xAC\x81 \xC2\xA0 \xE2\x80\xA8",  // would be normalised
          "a\xE2\x96\x81"
          "b \xE2\x96\x81\xE2\x96\x81 c",  // the library's own space sign
          "<s></s><unk> <r1> <0x41>",
          std::string("nul \0 byte", 10),
          "bad \xFF\xC3 bytes \xE2\x96",
          all,
          sample_text()};
}

std::string stream(const Tokenizer& t, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(t);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

}  // namespace

TEST_CASE("byte tokenizer round-trips and knows its special tokens") {
  const auto t = load_tokenizer("bytes");
  CHECK(t->vocab() == 258);
  CHECK(t->encode("A\xC3\xA9") == std::vector<int32_t>{65, 0xC3, 0xA9});
  for (const std::string& text : odd_texts()) CHECK(t->decode(t->encode(text)) == text);
  CHECK(t->decode(std::vector<int32_t>{256, 65, 257}) == "A");
  CHECK(t->token_bytes(65) == 1);
  CHECK(t->token_bytes(t->eos()) == 0);
  CHECK(t->piece(10) == "<0x0A>");
  CHECK(reserved_symbols(*t).empty());
  CHECK_THROWS_AS(t->decode(std::vector<int32_t>{258}), UserError);
}

TEST_CASE("trained SentencePiece models are exact and deterministic") {
  const test::TempDir dir;
  const std::string type = GENERATE("unigram", "bpe");
  CAPTURE(type);
  TokenizerTrainOptions options = train_options(dir, type);
  const TokenizerTrainResult result = train_tokenizer(options);
  const auto t = load_tokenizer(options.out);
  CHECK(t->vocab() == 310);
  CHECK(t->hash() == result.hash);
  CHECK(t->kind() == "sentencepiece");
  CHECK(t->encode(sample_text()).size() < sample_text().size() * 3 / 4);
  for (const std::string& text : odd_texts()) {
    const std::vector<int32_t> ids = t->encode(text);
    CHECK(t->decode(ids) == text);
    int64_t bytes = 0;
    for (const int32_t id : ids) bytes += t->token_bytes(id);
    CHECK(bytes == static_cast<int64_t>(text.size()));
  }
  const std::vector<int32_t> reserved = reserved_symbols(*t);
  REQUIRE(reserved.size() == 8);
  CHECK(t->encode("<r0><r7>") == std::vector<int32_t>{reserved[0], reserved[7]});
  CHECK(t->piece(t->encode(" the")[0]).substr(0, 3) == "\xE2\x96\x81");
  options.out = dir / "again.model";
  train_tokenizer(options);
  CHECK(read_file(options.out) == t->model_bytes());
  CHECK(make_tokenizer(t->kind(), t->model_bytes())->hash() == t->hash());
}

TEST_CASE("tokenizer training refuses what cannot work") {
  const test::TempDir dir;
  TokenizerTrainOptions options = train_options(dir, "unigram");
  options.vocab = 260;
  CHECK_THROWS_WITH(train_tokenizer(options), ContainsSubstring("must be above 267"));
  options.vocab = 100000;
  CHECK_THROWS_WITH(train_tokenizer(options), ContainsSubstring("smaller --vocab"));
  CHECK_FALSE(std::filesystem::exists(options.out));
  options.vocab = 310;
  options.model_type = "word";
  CHECK_THROWS_AS(train_tokenizer(options), UserError);
  options.model_type = "bpe";
  options.sample_bytes = 20000;
  CHECK(train_tokenizer(options).sample_bytes <= 20000);
}

TEST_CASE("tokenizers are found by name, file and directory") {
  const test::TempDir dir;
  CHECK_THROWS_WITH(load_tokenizer(dir / "none.model"), ContainsSubstring("none.model"));
  CHECK_THROWS_WITH(load_tokenizer(dir.path()), ContainsSubstring("neither tokenizer.json"));
  write_file_atomically(dir / "junk.model", "this is not a model");
  CHECK_THROWS_WITH(load_tokenizer(dir / "junk.model"), ContainsSubstring("SentencePiece model"));
  write_file_atomically(dir / "junk.model", "");
  CHECK_THROWS_AS(load_tokenizer(dir / "junk.model"), UserError);
  save_tokenizer(*load_tokenizer("bytes"), dir.path());
  CHECK(load_tokenizer(dir.path())->hash() == load_tokenizer("bytes")->hash());
  CHECK_THROWS_AS(make_tokenizer("other", ""), UserError);
}

TEST_CASE("stream decoding gives the text in valid pieces") {
  const test::TempDir dir;
  TokenizerTrainOptions options = train_options(dir, "unigram");
  train_tokenizer(options);
  for (const std::string& spec : {std::string("bytes"), options.out}) {
    const auto t = load_tokenizer(spec);
    const std::string text = "  caf\xC3\xA9 \xF0\x9F\x98\x80 the end ";
    CHECK(stream(*t, t->encode(text)) == text);
    StreamDecoder decoder(*t);
    std::string shown;
    for (const int32_t id : t->encode("\xF0\x9F\x98\x80")) {
      CHECK(shown.empty());
      shown += decoder.push(id);
    }
    CHECK(shown == "\xF0\x9F\x98\x80");
    CHECK(stream(*t, t->encode("a\xE2\x82")) == "a\xEF\xBF\xBD");
    CHECK(stream(*t, t->encode("\xFFz")) == "\xEF\xBF\xBDz");
  }
}
