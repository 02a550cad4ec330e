#include "data/loader.h"

#include <algorithm>
#include <map>
#include <set>

#include "data/mixture.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

constexpr int64_t kVocab = 100000;

/// Documents whose tokens are all different, so that a token tells its document and place.
struct Source {
  int64_t first_token = 0;
  int64_t documents = 0;
  int64_t longest = 0;
  bool keep_whole = false;
  bool masked = false;
  std::string hash = "feedfeedfeedfeed";
};

/// Writes the shards and returns, per token, the document it is in.
std::map<int32_t, int64_t> write(const std::string& directory, const Source& s) {
  ShardInfo info;
  info.tokenizer_kind = "bytes";
  info.tokenizer_hash = s.hash;
  info.vocab = kVocab;
  info.keep_whole = s.keep_whole;
  std::vector<uint16_t> lengths(kVocab);
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = static_cast<uint16_t>(i % 5);
  ShardWriter writer(directory, info, lengths, 500);
  const Philox random(3, Stream::Test);
  std::map<int32_t, int64_t> owner;
  int32_t token = static_cast<int32_t>(s.first_token);
  for (int64_t d = 0; d < s.documents; ++d) {
    std::vector<int32_t> tokens(
        1 + random.below(static_cast<uint64_t>(s.longest), static_cast<uint64_t>(d)));
    for (int32_t& t : tokens) {
      t = token++;
      owner[t] = d;
    }
    const int64_t n = static_cast<int64_t>(tokens.size());
    const std::vector<TokenSpan> learnt = {{n / 2, n}};
    writer.add(tokens, n, s.masked ? ShardWriter::Mask::Spans : ShardWriter::Mask::None, learnt);
  }
  writer.finish();
  return owner;
}

void check_batch(const Batch& b, int64_t seq_len, const std::map<int32_t, int64_t>& owner) {
  const size_t n = static_cast<size_t>(b.rows * seq_len);
  REQUIRE(b.tokens.size() == n);
  REQUIRE(b.targets.size() == n);
  REQUIRE(b.positions.size() == n);
  REQUIRE(b.doc_offsets.front() == 0);
  REQUIRE(b.doc_offsets.back() == static_cast<int32_t>(n));
  int64_t bytes = 0;
  for (size_t d = 0; d + 1 < b.doc_offsets.size(); ++d) {
    const size_t begin = static_cast<size_t>(b.doc_offsets[d]);
    const size_t end = static_cast<size_t>(b.doc_offsets[d + 1]);
    REQUIRE(begin < end);
    REQUIRE(begin / seq_len == (end - 1) / seq_len);  // inside one row
    REQUIRE(static_cast<int64_t>(end - begin) <= b.max_document);
    const bool padding = b.tokens[begin] == 0;
    for (size_t t = begin; t < end; ++t) {
      REQUIRE(b.positions[t] == static_cast<int32_t>(t - begin));
      if (padding || t + 1 == end) REQUIRE(b.targets[t] == kNoTarget);
      if (padding) {
        REQUIRE(b.tokens[t] == 0);
        continue;
      }
      REQUIRE(owner.at(b.tokens[t]) == owner.at(b.tokens[begin]));
      if (t + 1 < end) REQUIRE(b.tokens[t + 1] == b.tokens[t] + 1);
      if (b.targets[t] == kNoTarget) continue;
      REQUIRE(b.targets[t] == b.tokens[t + 1]);
      bytes += b.targets[t] % 5;
    }
  }
  CHECK(b.bytes == bytes);
}

void append(Batch& all, const Batch& part) {
  all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
  all.targets.insert(all.targets.end(), part.targets.begin(), part.targets.end());
  all.bytes += part.bytes;
}

}  // namespace

TEST_CASE("loader: an epoch shows every token once, in rows that leak nothing") {
  const test::TempDir dir;
  const bool whole = GENERATE(false, true);
  const auto order = GENERATE(LoaderOrder::Shuffled, LoaderOrder::Sequential);
  CAPTURE(whole, static_cast<int>(order));
  Source s{.first_token = 1, .documents = 80, .longest = whole ? 64 : 300, .keep_whole = whole};
  const auto owner = write(dir / "a", s);
  const auto loader = open_loader({dir / "a"}, {.seq_len = 64}, 7, order);
  const int64_t rows = loader->epoch_rows();
  if (!whole) CHECK(rows == (loader->epoch_tokens() + 63) / 64);
  CHECK(loader->vocab() == kVocab);
  CHECK(loader->tokenizer_hash() == "feedfeedfeedfeed");
  std::vector<std::vector<int32_t>> epochs;
  for (int64_t e = 0; e < (whole ? 1 : 3); ++e) {
    const Batch b = loader->batch(e * rows, rows);
    check_batch(b, 64, owner);
    std::vector<int32_t> seen;
    for (const int32_t t : b.tokens) {
      if (t != 0) seen.push_back(t);
    }
    CHECK(std::set<int32_t>(seen.begin(), seen.end()).size() == owner.size());
    CHECK(seen.size() == owner.size());
    epochs.push_back(b.tokens);
  }
  if (!whole) CHECK((epochs[0] != epochs[1]) == (order == LoaderOrder::Shuffled));
}

TEST_CASE("loader: rows do not depend on how they are asked for") {
  const test::TempDir dir;
  write(dir / "a", {.first_token = 1, .documents = 30, .longest = 200});
  write(dir / "b", {.first_token = 20000, .documents = 60, .longest = 40, .keep_whole = true});
  const std::vector<std::string> sources = {(dir / "a") + "@0.7", (dir / "b") + "@30%"};
  const auto loader = open_loader(sources, {.seq_len = 48}, 11, LoaderOrder::Shuffled);
  const Batch all = loader->batch(0, 300);
  for (const int64_t step : {1, 7, 64}) {
    const auto fresh = open_loader(sources, {.seq_len = 48}, 11, LoaderOrder::Shuffled);
    Batch joined;
    for (int64_t r = 0; r < 300; r += step) {
      append(joined, fresh->batch(r, std::min<int64_t>(step, 300 - r)));
    }
    CHECK(joined.tokens == all.tokens);
    CHECK(joined.targets == all.targets);
    CHECK(joined.bytes == all.bytes);
  }
  // Resuming far into the run, and backwards.
  const auto resumed = open_loader(sources, {.seq_len = 48}, 11, LoaderOrder::Shuffled);
  const Batch tail = resumed->batch(250, 50);
  CHECK(std::equal(tail.tokens.begin(), tail.tokens.end(), all.tokens.begin() + 250 * 48));
  CHECK(resumed->batch(3, 1).tokens ==
        std::vector<int32_t>(all.tokens.begin() + 3 * 48, all.tokens.begin() + 4 * 48));
  const auto other = open_loader(sources, {.seq_len = 48}, 12, LoaderOrder::Shuffled);
  CHECK(other->batch(0, 300).tokens != all.tokens);
}

TEST_CASE("loader: mixtures have exact proportions and every source keeps its own count") {
  const test::TempDir dir;
  const auto a = write(dir / "a", {.first_token = 1, .documents = 50, .longest = 200});
  write(dir / "b", {.first_token = 20000, .documents = 50, .longest = 200});
  write(dir / "c", {.first_token = 40000, .documents = 50, .longest = 200});
  const auto loader =
      open_loader({(dir / "a") + "@0.5", (dir / "b") + "@0.3", (dir / "c") + "@0.2"},
                  {.seq_len = 64}, 3, LoaderOrder::Shuffled);
  const Batch batch = loader->batch(0, 100);
  int64_t rows[3] = {};
  for (int64_t r = 0; r < 100; ++r) {
    const int32_t token = batch.tokens[static_cast<size_t>(64 * r)];
    ++rows[token / 20000];
    const int64_t done = r + 1;
    CHECK(std::abs(static_cast<double>(rows[0]) - 0.5 * static_cast<double>(done)) < 1.5);
  }
  CHECK(rows[0] == 50);
  CHECK(rows[1] == 30);
  CHECK(rows[2] == 20);
  // The rows of one source are the rows it has alone.
  const auto alone = open_loader({dir / "a"}, {.seq_len = 64}, 3, LoaderOrder::Shuffled);
  const Batch first = alone->batch(0, 50);
  std::vector<int32_t> mixed;
  for (int64_t r = 0; r < 100; ++r) {
    const auto begin = batch.tokens.begin() + 64 * r;
    if (*begin < 20000) mixed.insert(mixed.end(), begin, begin + 64);
  }
  CHECK(mixed == first.tokens);
}

TEST_CASE("mixture: periods are exact, even and counted without state") {
  const Mixture mixture({{"a", 1, 3}, {"b", 1, 2}, {"c", 1, 6}}, 5);
  CHECK(mixture.period() == 6);
  std::vector<int64_t> count(3, 0);
  for (int64_t r = 0; r < 600; ++r) {
    const Mixture::Row row = mixture.at(r);
    REQUIRE(row.row == count[static_cast<size_t>(row.source)]++);
  }
  CHECK(count == std::vector<int64_t>{200, 300, 100});
  CHECK(parse_weighted_source("d@x/y@0.25").path == "d@x/y");
  CHECK(parse_weighted_source("plain").numerator == 1);
  CHECK_THROWS_AS(parse_weighted_source("a@"), UserError);
  CHECK_THROWS_AS(parse_weighted_source("a@0"), UserError);
  CHECK_THROWS_AS(parse_weighted_source("a@half"), UserError);
  CHECK_THROWS_WITH(Mixture({{"a", 1, 99991}, {"b", 1, 99989}}, 0), ContainsSubstring("digits"));
}

TEST_CASE("loader: loss masks and joined documents") {
  const test::TempDir dir;
  write(dir / "m", {.first_token = 1, .documents = 40, .longest = 50, .masked = true});
  const auto loader = open_loader({dir / "m"}, {.seq_len = 32}, 1, LoaderOrder::Sequential);
  const Batch b = loader->batch(0, loader->epoch_rows());
  CHECK(b.valid_targets() > 0);
  CHECK(b.valid_targets() < static_cast<int64_t>(b.tokens.size()) * 6 / 10);
  const auto joined =
      open_loader({dir / "m"}, {.seq_len = 32, .document_mask = false}, 1, LoaderOrder::Sequential);
  const Batch j = joined->batch(0, joined->epoch_rows());
  CHECK(j.tokens == b.tokens);
  CHECK(j.doc_offsets.size() == static_cast<size_t>(j.rows) + 1);
  CHECK(j.max_document == 32);
  for (size_t t = 0; t < j.tokens.size(); ++t) {
    REQUIRE(j.positions[t] == static_cast<int32_t>(t % 32));
    if (j.targets[t] != kNoTarget) REQUIRE(j.targets[t] == j.tokens[t + 1]);
  }
  // A single-token document is learnt from its predecessor only where documents are joined.
  CHECK(j.valid_targets() >= b.valid_targets());
}

TEST_CASE("loader: bad sources are refused by name") {
  const test::TempDir dir;
  const auto open = [&](std::vector<std::string> sources, int64_t seq_len = 64) {
    return open_loader(sources, {.seq_len = seq_len}, 0, LoaderOrder::Shuffled);
  };
  write(dir / "a", {.first_token = 1, .documents = 5, .longest = 90, .keep_whole = true});
  write(dir / "b", {.first_token = 1, .documents = 5, .longest = 20, .hash = "another"});
  CHECK_THROWS_WITH(open({}), ContainsSubstring("data.train"));
  CHECK_THROWS_WITH(open({dir / "none"}), ContainsSubstring("none"));
  CHECK_THROWS_WITH(open({dir / "a"}, 16), ContainsSubstring("raise seq_len"));
  CHECK_THROWS_WITH(open({dir / "a", dir / "b"}, 128), ContainsSubstring("another"));
  CHECK_THROWS_AS(open({dir / "b"}, 1), UserError);
  CHECK(tokenizer_beside({(dir / "a") + "@2"}) == dir / "a");
}
