#include "data/documents.h"

#include <filesystem>

#include <zlib.h>
#include <zstd.h>

#include "src/base/check.h"
#include "src/base/file.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

std::string gzip(const std::string& text) {
  z_stream z = {};
  deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

/// As dictzip writes: flushed at chunk ends, with the "RA" extra field that lists the chunks.
std::string dictzip(const std::string& text) {
  z_stream z = {};
  deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  unsigned char extra[] = {'R', 'A', 8, 0, 1, 0, 100, 0, 1, 0, 50, 0};
  gz_header header = {};
  header.extra = extra;
  header.extra_len = sizeof(extra);
  deflateSetHeader(&z, &header);
  std::string out(2 * text.size() + 1000, '\0');
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  for (size_t at = 0; at < text.size(); at += 100) {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data() + at));
    z.avail_in = static_cast<uInt>(std::min<size_t>(100, text.size() - at));
    deflate(&z, Z_FULL_FLUSH);
  }
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string long_text() {
  std::string text;
  for (int i = 0; i < 60000; ++i) text += "line " + std::to_string(i * 7919) + "\n";
  return text;
}

std::vector<Document> read_all(DocumentOptions options, DocumentCounts* counts = nullptr) {
  DocumentReader reader(std::move(options));
  std::vector<Document> all;
  Document d;
  while (reader.next(d)) all.push_back(d);
  CHECK(reader.progress() == Approx(1.0));
  if (counts != nullptr) *counts = reader.counts();
  return all;
}

std::vector<std::string> texts(DocumentOptions options) {
  std::vector<std::string> out;
  for (const Document& d : read_all(std::move(options))) out.push_back(d.text);
  return out;
}

}  // namespace

TEST_CASE("documents: a text file is one document, plain or compressed") {
  const test::TempDir dir;
  const std::string text = long_text();
  const size_t half = text.size() / 2;
  write_file_atomically(dir / "a.txt", text);
  write_file_atomically(dir / "b.txt.gz", gzip(text));
  write_file_atomically(dir / "c.txt.gz", gzip(text.substr(0, half)) + gzip(text.substr(half)));
  write_file_atomically(dir / "d.dict.dz", dictzip(text));
  write_file_atomically(dir / "e.txt.zst", zstd(text));
  write_file_atomically(dir / "f.txt.zst", zstd(text.substr(0, half)) + zstd(text.substr(half)));
  for (const char* name :
       {"a.txt", "b.txt.gz", "c.txt.gz", "d.dict.dz", "e.txt.zst", "f.txt.zst"}) {
    CAPTURE(name);
    const auto got = texts({.input = {dir / name}});
    REQUIRE(got.size() == 1);
    CHECK(got[0] == text);
  }
  for (const char* name : {"b.txt.gz", "d.dict.dz", "e.txt.zst"}) {
    CAPTURE(name);
    const std::string whole = read_file(dir / name);
    const std::string cut = dir / (std::string("cut-") + name);
    write_file_atomically(cut, std::string_view(whole).substr(0, whole.size() / 2));
    CHECK_THROWS_WITH(texts({.input = {cut}}), ContainsSubstring("truncated"));
    std::string bad = whole;
    for (size_t i = bad.size() / 2; i < bad.size() / 2 + 40; ++i) bad[i] = static_cast<char>(0xA5);
    write_file_atomically(cut, bad);
    CHECK_THROWS_AS(texts({.input = {cut}}), UserError);
    write_file_atomically(cut, "not compressed at all");
    CHECK_THROWS_WITH(texts({.input = {cut}}), ContainsSubstring("damaged"));
  }
}

TEST_CASE("documents: separators, blank lines and byte order marks") {
  const test::TempDir dir;
  write_file_atomically(dir / "a.txt",
                        "\xEF\xBB\xBFone<|endoftext|>two\n<|endoftext|><|endoftext|>three");
  CHECK(texts({.input = {dir / "a.txt"}, .split_on = "<|endoftext|>"}) ==
        std::vector<std::string>{"one", "two\n", "three"});
  write_file_atomically(dir / "b.txt", "\n\nfirst\n  second\n\n \t\n   third\r\n\r\nfourth\n\n");
  DocumentCounts counts;
  const auto got = read_all({.input = {dir / "b.txt"}, .split_on = "blank"}, &counts);
  REQUIRE(got.size() == 3);
  CHECK(got[0].text == "first\n  second\n");
  CHECK(got[1].text == "   third\r\n");
  CHECK(got[2].text == "fourth\n");
  CHECK(got[0].line == 3);
  CHECK(got[1].line == 7);
  CHECK(got[2].line == 9);
  // A separator across the boundary of two reads.
  std::string text(size_t{1} << 18, 'x');
  text.replace(text.size() - 3, 3, "<se");
  write_file_atomically(dir / "c.txt", text + "p>tail");
  const auto split = texts({.input = {dir / "c.txt"}, .split_on = "<sep>"});
  REQUIRE(split.size() == 2);
  CHECK(split[0].size() == text.size() - 3);
  CHECK(split[1] == "tail");
}

TEST_CASE("documents: long documents are cut at line ends and nothing is lost") {
  const test::TempDir dir;
  const std::string text = long_text();
  write_file_atomically(dir / "a.txt", text);
  DocumentCounts counts;
  const auto got = read_all({.input = {dir / "a.txt"}, .max_document = 1000}, &counts);
  std::string joined;
  for (const Document& d : got) {
    joined += d.text;
    REQUIRE(d.text.size() <= 1000);
    REQUIRE(d.text.back() == '\n');
  }
  CHECK(joined == text);
  CHECK(counts.cut == static_cast<int64_t>(got.size()) - 1);
  CHECK(got[1].line == 1 + std::count(got[0].text.begin(), got[0].text.end(), '\n'));
  // Without line ends the cut respects characters.
  std::string accents;
  for (int i = 0; i < 500; ++i) accents += "\xE2\x82\xAC";
  write_file_atomically(dir / "b.txt", accents);
  CHECK(texts({.input = {dir / "b.txt"}, .max_document = 100}).front().size() == 99);
  write_file_atomically(dir / "c.jsonl", "{\"text\": \"" + accents + "\"}\n");
  joined.clear();
  for (const std::string& t : texts({.input = {dir / "c.jsonl"}, .max_document = 100})) joined += t;
  CHECK(joined == accents);
}

TEST_CASE("documents: JSON lines") {
  const test::TempDir dir;
  write_file_atomically(
      dir / "a.jsonl",
      "{\"text\": \"one\\n\\u00e9\"}\n\n{\"id\": 3, \"text\": \"two\"}\n{\"text\": \"\"}\n"
      "{\"text\":\"last\"}");
  DocumentCounts counts;
  const auto got = read_all({.input = {dir / "a.jsonl"}}, &counts);
  REQUIRE(got.size() == 3);
  CHECK(got[0].text == "one\n\xC3\xA9");
  CHECK(got[1].text == "two");
  CHECK(got[1].line == 3);
  CHECK(got[2].text == "last");
  CHECK(counts.empty == 1);
  write_file_atomically(dir / "b.jsonl.gz", gzip("{\"content\": \"x\"}\n"));
  CHECK(texts({.input = {dir / "b.jsonl.gz"}, .text_key = "content"}) ==
        std::vector<std::string>{"x"});
  CHECK_THROWS_WITH(texts({.input = {dir / "b.jsonl.gz"}}), ContainsSubstring("keys: content"));
  write_file_atomically(dir / "bad.jsonl",
                        "{\"text\": \"x\"}\n{\"text\": oops}\n[1]\n{\"text\": 5}\n");
  CHECK_THROWS_WITH(texts({.input = {dir / "bad.jsonl"}}),
                    ContainsSubstring("bad.jsonl:2: bad JSON"));
  CHECK(read_all({.input = {dir / "bad.jsonl"}, .skip_bad = true}, &counts).size() == 1);
  CHECK(counts.bad == 3);
}

TEST_CASE("documents: invalid UTF-8 is refused with its place, or replaced") {
  const test::TempDir dir;
  write_file_atomically(dir / "a.txt", "ok\nstill ok\nbad \xFF here\n");
  CHECK_THROWS_WITH(texts({.input = {dir / "a.txt"}}),
                    ContainsSubstring("a.txt:3: invalid UTF-8 at byte 16 (0xff)"));
  DocumentCounts counts;
  const auto got = read_all({.input = {dir / "a.txt"}, .invalid_utf8 = "replace"}, &counts);
  CHECK(got.at(0).text == "ok\nstill ok\nbad \xEF\xBF\xBD here\n");
  CHECK(counts.replaced == 1);
  write_file_atomically(dir / "b.jsonl", "{\"text\": \"fine\"}\n{\"text\": \"\xC3\"}\n");
  CHECK_THROWS_WITH(texts({.input = {dir / "b.jsonl"}}),
                    ContainsSubstring("b.jsonl:2: invalid UTF-8 at byte 27"));
  CHECK(texts({.input = {dir / "b.jsonl"}, .invalid_utf8 = "replace"}).size() == 2);
  CHECK_THROWS_AS(texts({.input = {dir / "a.txt"}, .invalid_utf8 = "ignore"}), UserError);
}

TEST_CASE("documents: inputs are files, directories and globs in a fixed order") {
  const test::TempDir dir;
  std::filesystem::create_directories(dir / "d/sub");
  write_file_atomically(dir / "d/b.txt", "b");
  write_file_atomically(dir / "d/a.md", "a");
  write_file_atomically(dir / "d/sub/c.jsonl", "{\"text\": \"c\"}");
  write_file_atomically(dir / "d/picture.png", "no");
  CHECK(texts({.input = {dir / "d"}}) == std::vector<std::string>{"a", "b", "c"});
  CHECK(texts({.input = {dir / "d/*.txt", dir / "d/a.md"}}) == std::vector<std::string>{"b", "a"});
  CHECK_THROWS_WITH(texts({.input = {dir / "no*.txt"}}), ContainsSubstring("no*.txt"));
  CHECK_THROWS_WITH(texts({.input = {dir / "missing.txt"}}), ContainsSubstring("missing.txt"));
  CHECK_THROWS_WITH(texts({.input = {}}), ContainsSubstring("--input"));
  write_file_atomically(dir / "x.parquet", "PAR1");
  CHECK_THROWS_WITH(texts({.input = {dir / "x.parquet"}}), ContainsSubstring("JSON lines"));
  write_file_atomically(dir / "none.txt", "");
  CHECK_THROWS_WITH(texts({.input = {dir / "none.txt"}}), ContainsSubstring("is empty"));
  std::filesystem::create_directories(dir / "empty");
  CHECK_THROWS_AS(texts({.input = {dir / "empty"}}), UserError);
}

TEST_CASE("documents: the samples say the same as text and as JSON lines") {
  const auto lines = texts({.input = {"data/samples/notes.jsonl"}});
  CHECK(lines.size() == 10);
  CHECK(texts({.input = {"data/samples/notes.txt"}, .split_on = "blank"}) == lines);
}
