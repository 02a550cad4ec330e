#include "data/shard.h"

#include <filesystem>
#include <fstream>

#include "data/dataset.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/philox.h"
#include "src/core/hdf5.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

struct Sample {
  std::vector<std::vector<int32_t>> documents;
  std::vector<std::vector<TokenSpan>> learnt;
};

Sample sample_documents(int64_t vocab, int64_t count) {
  const Philox random(5, Stream::Test);
  Sample s;
  uint64_t n = 0;
  for (int64_t d = 0; d < count; ++d) {
    std::vector<int32_t> tokens(1 + random.below(300, n++));
    for (int32_t& t : tokens) {
      t = static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab), n++));
    }
    s.learnt.push_back({});
    if (tokens.size() > 10) s.learnt.back() = {{2, 3}, {5, 9}};
    s.documents.push_back(std::move(tokens));
  }
  return s;
}

ShardInfo info_for(int64_t vocab) {
  ShardInfo info;
  info.tokenizer_kind = "bytes";
  info.tokenizer_hash = load_tokenizer("bytes")->hash();
  info.vocab = vocab;
  info.task = "mqar";
  info.keep_whole = true;
  info.parameters = "{\"pairs\": 4}";
  info.provenance = std::string(100000, 'x');  // longer than an attribute can be
  return info;
}

std::vector<std::string> write(const std::string& directory, const Sample& s, int64_t vocab,
                               int64_t shard_tokens, bool masked) {
  ShardWriter writer(directory, info_for(vocab),
                     std::vector<uint16_t>(static_cast<size_t>(vocab), 1), shard_tokens);
  for (size_t d = 0; d < s.documents.size(); ++d) {
    writer.add(s.documents[d], 3, masked ? ShardWriter::Mask::Spans : ShardWriter::Mask::None,
               s.learnt[d]);
  }
  writer.finish();
  return writer.files();
}

}  // namespace

TEST_CASE("shards round-trip narrow and wide tokens, masks and attributes") {
  const test::TempDir dir;
  const int64_t vocab = GENERATE(258, 65535, 65536, 200000);
  const bool masked = GENERATE(true, false);
  CAPTURE(vocab, masked);
  const Sample s = sample_documents(vocab, 700);
  const auto files = write(dir / "d", s, vocab, 1 << 30, masked);
  REQUIRE(files.size() == 1);
  const Shard shard(files[0]);
  CHECK(shard.documents() == 700);
  CHECK(shard.text_bytes() == 2100);
  CHECK(shard.info().task == "mqar");
  CHECK(shard.info().keep_whole);
  CHECK(shard.info().parameters == "{\"pairs\": 4}");
  CHECK(shard.info().provenance.size() == 100000);
  CHECK(shard.masked() == masked);
  for (int64_t d = 0; d < 700; ++d) {
    const size_t at = static_cast<size_t>(d);
    REQUIRE(shard.document(d) == s.documents[at]);
    if (masked) REQUIRE(shard.learnt_in(d) == s.learnt[at]);
    std::vector<uint8_t> mask(s.documents[at].size());
    shard.read_mask(shard.offsets()[at], mask);
    for (size_t t = 0; t < mask.size(); ++t) {
      const bool want = !masked || (mask.size() > 10 && (t == 2 || (t >= 5 && t < 9)));
      REQUIRE(mask[t] == want);
    }
  }
  CHECK_NOTHROW(shard.verify());
}

TEST_CASE("shards are split by tokens, listed in order and leave no temporary files") {
  const test::TempDir dir;
  const Sample s = sample_documents(258, 100);
  const auto files = write(dir / "d", s, 258, 2000, false);
  CHECK(files.size() > 3);
  CHECK(resolve_shards(dir / "d") == files);
  CHECK(resolve_shards(dir / "d/*.h5") == files);
  int64_t document = 0;
  for (const std::string& path : files) {
    const Shard shard(path);
    CHECK(shard.tokens() <= 2000);
    for (int64_t d = 0; d < shard.documents(); ++d) {
      REQUIRE(shard.document(d) == s.documents[static_cast<size_t>(document++)]);
    }
  }
  CHECK(document == 100);
  for (const auto& entry : std::filesystem::directory_iterator(dir / "d")) {
    CHECK(entry.path().extension() == ".h5");
  }
  CHECK_THROWS_WITH(resolve_shards(dir.path()), ContainsSubstring("no shards"));
  CHECK_THROWS_WITH(resolve_shards(dir / "none"), ContainsSubstring("none"));
  std::filesystem::create_directories(dir / "set/train");
  CHECK_THROWS_WITH(resolve_shards(dir / "set"), ContainsSubstring("set/train"));
}

TEST_CASE("damaged shards are refused and never read as something else") {
  const test::TempDir dir;
  const Sample s = sample_documents(258, 40);
  const std::string path = write(dir / "d", s, 258, 1 << 30, true).front();
  const std::string whole = read_file(path);
  const std::string bad = dir / "bad.h5";
  SECTION("truncated") {
    for (size_t keep = 0; keep < whole.size(); keep += whole.size() / 20) {
      write_file_atomically(bad, std::string_view(whole).substr(0, keep));
      CHECK_THROWS_AS(Shard(bad), UserError);
    }
  }
  SECTION("one flipped bit: an error, or nothing that is read has changed") {
    const Philox random(9, Stream::Test);
    int caught = 0;
    constexpr int kFlips = 300;
    for (uint64_t i = 0; i < kFlips; ++i) {
      std::string bytes = whole;
      const size_t at = random.below(bytes.size(), 2 * i);
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8, 2 * i + 1)));
      std::ofstream(bad, std::ios::binary) << bytes;
      try {
        const Shard shard(bad);
        shard.verify();
        REQUIRE(shard.documents() == 40);
        REQUIRE(shard.info().provenance.size() == 100000);
        for (int64_t d = 0; d < 40; ++d) {
          REQUIRE(shard.document(d) == s.documents[static_cast<size_t>(d)]);
          REQUIRE(shard.learnt_in(d) == s.learnt[static_cast<size_t>(d)]);
        }
      } catch (const Error& e) {
        ++caught;
        CHECK(std::string(e.what()).find("bad.h5") != std::string::npos);
      }
    }
    CHECK(caught > kFlips / 2);
  }
  SECTION("a flipped token is named when it is read, not before") {
    std::string bytes = whole;
    std::vector<uint16_t> narrow(s.documents[0].begin(), s.documents[0].end());
    const std::string needle(reinterpret_cast<const char*>(narrow.data()), 2 * narrow.size());
    const size_t at = bytes.find(needle);
    REQUIRE(at != std::string::npos);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    write_file_atomically(bad, bytes);
    const Shard shard(bad);
    CHECK_THROWS_WITH(shard.document(0), ContainsSubstring("/tokens is damaged"));
    CHECK_THROWS_WITH(shard.verify(), ContainsSubstring("bad.h5"));
  }
  SECTION("another HDF5 file") {
    hdf5::File::create(bad).set_attribute("/", "x", 1);
    CHECK_THROWS_WITH(Shard(bad), ContainsSubstring("not a token shard"));
  }
}

TEST_CASE("a shard of another tokenizer is refused by both hashes") {
  const test::TempDir dir;
  ShardInfo info = info_for(258);
  info.tokenizer_hash = "0123456789abcdef";
  ShardWriter writer(dir / "d", info, std::vector<uint16_t>(258, 1), 100);
  writer.add(std::vector<int32_t>{1, 2, 3}, 3);
  writer.finish();
  const auto bytes = load_tokenizer("bytes");
  CHECK_THROWS_WITH(require_tokenizer(Shard(writer.files()[0]), *bytes),
                    ContainsSubstring("0123456789abcdef"));
  CHECK_THROWS_WITH(require_tokenizer(Shard(writer.files()[0]), *bytes),
                    ContainsSubstring(bytes->hash()));
}

TEST_CASE("data set directories replace only data sets and only when asked") {
  const test::TempDir dir;
  using Existing = DatasetDirectory::Existing;
  const auto bytes = load_tokenizer("bytes");
  const auto fill = [&](const DatasetDirectory& d) {
    ShardWriter writer(d.train(), info_for(258), std::vector<uint16_t>(258, 1), 100);
    writer.add(std::vector<int32_t>{1, 2, 3}, 3);
    writer.finish();
  };
  const std::string out = dir / "set";
  {
    DatasetDirectory abandoned(out, Existing::Refuse);
    fill(abandoned);
  }
  CHECK_FALSE(std::filesystem::exists(out));
  CHECK_FALSE(std::filesystem::exists(out + ".partial"));
  for (const Existing existing : {Existing::Refuse, Existing::Replace}) {
    DatasetDirectory d(out, existing);
    fill(d);
    d.publish(*bytes);
  }
  CHECK(load_tokenizer(out + "/train")->kind() == "bytes");
  CHECK_FALSE(std::filesystem::exists(out + "/validation"));
  CHECK_THROWS_WITH(DatasetDirectory(out, Existing::Refuse), ContainsSubstring("--overwrite"));
  write_file_atomically(out + "/notes.txt", "mine");
  CHECK_THROWS_WITH(DatasetDirectory(out, Existing::Replace), ContainsSubstring("other files"));
}
