#include "data/build.h"

#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/loader.h"
#include "data/shard.h"
#include "data/statistics.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

BuildOptions options_for(const test::TempDir& dir) {
  BuildOptions o;
  o.documents.input = {dir / "text.jsonl"};
  o.tokenizer = "bytes";
  o.out = dir / "out";
  return o;
}

/// 400 documents of letters, a twice as frequent as b.
std::vector<std::string> write_documents(const test::TempDir& dir) {
  const Philox random(2, Stream::Test);
  std::vector<std::string> documents;
  std::string file;
  uint64_t n = 0;
  for (int d = 0; d < 400; ++d) {
    std::string text(5 + random.below(60, n++), 'a');
    for (char& c : text) {
      if (random.below(3, n++) == 0) c = 'b';
    }
    documents.push_back(text);
    file += nlohmann::json{{"text", text}}.dump() + "\n";
  }
  write_file_atomically(dir / "text.jsonl", file);
  return documents;
}

std::vector<std::string> texts_of(const std::string& part) {
  const auto t = load_tokenizer(part);
  std::vector<std::string> out;
  for (const std::string& path : resolve_shards(part)) {
    const Shard shard(path);
    for (int64_t d = 0; d < shard.documents(); ++d) {
      const auto tokens = shard.document(d);
      CHECK(tokens.back() == t->eos());
      out.push_back(t->decode(tokens));
    }
  }
  return out;
}

}  // namespace

TEST_CASE("build: documents arrive in order, split by index, whatever the shard size") {
  const test::TempDir dir;
  const auto documents = write_documents(dir);
  BuildOptions o = options_for(dir);
  o.validation = {1, 20};
  o.shard_tokens = GENERATE(500, 1 << 26);
  const BuildResult r = build_dataset(o);
  std::vector<std::string> train, validation;
  for (size_t i = 0; i < documents.size(); ++i) {
    (is_validation_document(static_cast<int64_t>(i), o.validation) ? validation : train)
        .push_back(documents[i]);
  }
  CHECK(texts_of(o.out + "/train") == train);
  CHECK(texts_of(o.out + "/validation") == validation);
  CHECK(validation.size() > 8);
  CHECK(validation.size() < 40);
  CHECK(r.train.documents == static_cast<int64_t>(train.size()));
  CHECK(r.validation.files.size() >= 1);
  CHECK(load_tokenizer(o.out)->hash() == r.tokenizer_hash);
  const nlohmann::json json = nlohmann::json::parse(to_json(r));
  CHECK(json["train"]["tokens"] == r.train.tokens);
  // log2(3) - 2/3 bits per letter, and some for the end-of-text tokens.
  CHECK(json["unigram_bits_per_byte"].get<double>() > 0.91);
  CHECK(json["unigram_bits_per_byte"].get<double>() < 1.25);
}

TEST_CASE("build: unigram bits are add-one smoothed training counts on the validation set") {
  const test::TempDir dir;
  std::string file;
  for (int i = 0; i < 50; ++i) file += "{\"text\": \"ab\"}\n";
  write_file_atomically(dir / "text.jsonl", file);
  BuildOptions o = options_for(dir);
  o.validation = {1, 5};
  const BuildResult r = build_dataset(o);
  const double n = static_cast<double>(r.train.documents);
  const double p = (n + 1) / (3 * n + 258);
  CHECK(r.unigram_bits_per_byte == Approx(-3 * std::log2(p) / 2));
  CHECK(r.unigram_bits_per_token == Approx(-std::log2(p)));
}

TEST_CASE("build: statistics and display") {
  const test::TempDir dir;
  write_file_atomically(dir / "text.jsonl",
                        "{\"text\": \"abc\"}\n{\"text\": \"a\\nb\"}\n{\"text\": \"abcdefg\"}\n");
  BuildOptions o = options_for(dir);
  build_dataset(o);
  const auto paths = resolve_shards(o.out + "/train");
  const ShardStatistics s = shard_statistics(paths);
  CHECK(s.documents == 3);
  CHECK(s.tokens == 16);
  CHECK(s.text_bytes == 13);
  CHECK(s.learnt == 16);
  CHECK(s.shortest == 4);
  CHECK(s.longest == 8);
  CHECK(s.lengths == std::vector<int64_t>{0, 0, 2, 1});
  CHECK(s.distinct == 9);
  const nlohmann::json json = nlohmann::json::parse(to_json(s));
  CHECK(json["entropy_bits_per_token"].get<double>() == Approx(s.entropy_bits_per_token));
  CHECK(to_table(s).find("4-7 tokens") != std::string::npos);

  const auto t = load_tokenizer("bytes");
  const auto loader = open_loader({o.out + "/train"}, {.seq_len = 6}, 0, LoaderOrder::Sequential);
  CHECK(show_batch(*t, loader->batch(0, 1), Style::Plain) ==
        "document 0 (4 tokens)\na [b] [c] [</s>]\ndocument 1 (2 tokens)\na [<0x0A>]\n");
  const std::string color = show_batch(*t, loader->batch(0, 1), Style::Color);
  CHECK(color.find("\x1b[1;32mb") != std::string::npos);
}

TEST_CASE("build: refusals write nothing") {
  const test::TempDir dir;
  write_file_atomically(dir / "text.jsonl", "{\"text\": \"one\"}\n");
  BuildOptions o = options_for(dir);
  o.validation = {1, 50};
  CHECK_THROWS_WITH(build_dataset(o), ContainsSubstring("--max-document"));
  o.validation = {1, 1};
  CHECK_THROWS_AS(build_dataset(o), UserError);
  o.validation = {};
  o.tokenizer = dir / "none.model";
  CHECK_THROWS_WITH(build_dataset(o), ContainsSubstring("none.model"));
  o.tokenizer = "bytes";
  o.documents.input = {dir / "bad.jsonl"};
  write_file_atomically(dir / "bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": \"\xFF\"}\n");
  CHECK_THROWS_WITH(build_dataset(o), ContainsSubstring("bad.jsonl:2"));
  write_file_atomically(dir / "bad.jsonl", "\n \n");
  CHECK_THROWS_WITH(build_dataset(o), ContainsSubstring("no text"));
  CHECK_FALSE(std::filesystem::exists(o.out));
  CHECK_FALSE(std::filesystem::exists(o.out + ".partial"));
}
