#include "data/packing.h"

#include <algorithm>
#include <map>
#include <set>

#include "data/loader.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

constexpr int64_t kVocab = 200000;

/// Documents of these lengths, every token of its own, the second half of each learnt.
void write(const std::string& directory, const std::vector<int64_t>& lengths, bool keep_whole,
           int32_t first_token = 1) {
  ShardInfo info;
  info.tokenizer_kind = "bytes";
  info.tokenizer_hash = "feedfeedfeedfeed";
  info.vocab = kVocab;
  info.keep_whole = keep_whole;
  ShardWriter writer(directory, info, std::vector<uint16_t>(kVocab, 1), 4000);
  int32_t token = first_token;
  for (const int64_t n : lengths) {
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    for (int32_t& t : tokens) t = token++;
    std::vector<TokenSpan> learnt;
    if (n > 1) learnt.push_back({n / 2, n});
    writer.add(tokens, n, ShardWriter::Mask::Spans, learnt);
  }
  writer.finish();
}

/// Lengths between 1 and `longest`, most of them short.
std::vector<int64_t> skewed_lengths(int64_t count, int64_t longest, uint32_t stream) {
  const Philox random(5, Stream::Test, stream);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < count; ++i) {
    const double u = double{random.uniform(static_cast<uint64_t>(i))};
    lengths.push_back(1 + static_cast<int64_t>(u * u * u * static_cast<double>(longest - 1)));
  }
  return lengths;
}

/// A run of tokens without a gap: a document, or a part of one; `learnt` of them are targets.
struct Found {
  int32_t first = 0;
  int64_t length = 0;
  int64_t learnt = 0;
  auto operator<=>(const Found&) const = default;
};

/// What a batch holds, row by row, padding left out. Checks that nothing leaks on the way.
std::vector<std::vector<Found>> rows_of(const Batch& b, int64_t seq_len) {
  REQUIRE(static_cast<int64_t>(b.tokens.size()) == b.rows * seq_len);
  std::vector<std::vector<Found>> rows(static_cast<size_t>(b.rows));
  for (size_t d = 0; d + 1 < b.doc_offsets.size(); ++d) {
    const auto begin = static_cast<size_t>(b.doc_offsets[d]);
    const auto end = static_cast<size_t>(b.doc_offsets[d + 1]);
    const size_t row = begin / static_cast<size_t>(seq_len);
    REQUIRE(row == (end - 1) / static_cast<size_t>(seq_len));
    Found found{b.tokens[begin], static_cast<int64_t>(end - begin), 0};
    for (size_t t = begin; t < end; ++t) {
      REQUIRE(b.positions[t] == static_cast<int32_t>(t - begin));
      if (found.first != 0) REQUIRE(b.tokens[t] == found.first + static_cast<int32_t>(t - begin));
      if (t + 1 == end || found.first == 0) REQUIRE(b.targets[t] == kNoTarget);
      if (b.targets[t] == kNoTarget) continue;
      REQUIRE(b.targets[t] == b.tokens[t + 1]);
      ++found.learnt;
    }
    if (found.first != 0) rows[row].push_back(found);
  }
  return rows;
}

std::vector<Found> flat_sorted(const std::vector<std::vector<Found>>& rows) {
  std::vector<Found> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  std::sort(all.begin(), all.end());
  return all;
}

/// The documents of `write` with their targets: the learnt half, but never a first token.
std::vector<Found> whole_documents(const std::vector<int64_t>& lengths, int32_t first = 1) {
  std::vector<Found> all;
  for (const int64_t n : lengths) {
    all.push_back({first, n, n > 1 ? n - std::max<int64_t>(n / 2, 1) : 0});
    first += static_cast<int32_t>(n);
  }
  return all;
}

RowLayout best(int64_t seq_len, std::vector<int64_t> buckets = {}) {
  return {.seq_len = seq_len, .pack = PackRule::Best, .buckets = std::move(buckets)};
}

}  // namespace

TEST_CASE("packing: best fit shows every document once an epoch, whole, with its own targets") {
  const test::TempDir dir;
  const auto order = GENERATE(LoaderOrder::Shuffled, LoaderOrder::Sequential);
  const auto buckets = GENERATE(std::vector<int64_t>{}, std::vector<int64_t>{16, 40});
  const int64_t count = GENERATE(1, 7, 900, 6000);  // one window of documents, and more than one
  CAPTURE(static_cast<int>(order), buckets.size(), count);
  const auto lengths = skewed_lengths(count, 64, 1);
  write(dir / "a", lengths, true);
  const auto loader = open_loader({dir / "a"}, best(64, buckets), 7, order);
  const int64_t rows = loader->epoch_rows();
  const auto packed = rows_of(loader->batch(0, rows), 64);
  CHECK(flat_sorted(packed) == whole_documents(lengths));
  for (const auto& row : packed) {
    CHECK(!row.empty());
    std::set<std::ptrdiff_t> used;
    for (const Found& f : row) {
      used.insert(std::lower_bound(buckets.begin(), buckets.end(), f.length) - buckets.begin());
    }
    CHECK(used.size() == 1);
  }
  CHECK(padding_share(*loader) ==
        Approx(1 - static_cast<double>(loader->epoch_tokens()) / static_cast<double>(64 * rows)));
}

TEST_CASE("packing: every epoch is complete, in another order, and found again from any row") {
  const test::TempDir dir;
  const auto lengths = skewed_lengths(700, 64, 2);
  write(dir / "a", lengths, true);
  const auto loader = open_loader({dir / "a"}, best(64), 7, LoaderOrder::Shuffled);
  // Epochs follow one another by what is in them, for their numbers of rows may differ.
  std::vector<std::vector<std::vector<Found>>> epochs(1);
  int64_t seen = 0, row = 0;
  while (epochs.size() < 4) {
    const auto one = rows_of(loader->batch(row++, 1), 64);
    epochs.back().push_back(one.front());
    seen += static_cast<int64_t>(one.front().size());
    if (seen == 700) {
      CHECK(flat_sorted(epochs.back()) == whole_documents(lengths));
      epochs.emplace_back();
      seen = 0;
    }
    REQUIRE(seen < 700);
  }
  CHECK(static_cast<int64_t>(epochs[0].size()) == loader->epoch_rows());
  CHECK(epochs[0] != epochs[1]);
  const Batch all = loader->batch(0, row);
  for (const int64_t start : {int64_t{0}, row / 3, row / 2, row - 1}) {
    const auto resumed = open_loader({dir / "a"}, best(64), 7, LoaderOrder::Shuffled);
    const Batch tail = resumed->batch(start, row - start);
    CHECK(std::equal(tail.tokens.begin(), tail.tokens.end(), all.tokens.begin() + 64 * start));
    CHECK(std::equal(tail.targets.begin(), tail.targets.end(), all.targets.begin() + 64 * start));
  }
  const auto other = open_loader({dir / "a"}, best(64), 8, LoaderOrder::Shuffled);
  CHECK(other->batch(0, row).tokens != all.tokens);
}

TEST_CASE("packing: best fit leaves almost nothing empty where the lengths allow it") {
  const test::TempDir dir;
  write(dir / "a", skewed_lengths(3000, 256, 3), true);
  const auto order = LoaderOrder::Shuffled;
  const double padding = padding_share(*open_loader({dir / "a"}, best(256), 1, order));
  CHECK(padding < 0.005);
  const RowLayout fill{.seq_len = 256};
  CHECK(padding_share(*open_loader({dir / "a"}, fill, 1, order)) > 0.1);
  // Buckets keep long documents from being filled up with short ones.
  const double bucketed = padding_share(*open_loader({dir / "a"}, best(256, {64}), 1, order));
  CHECK(bucketed > padding);
  // Documents just above half a row cannot share one, whatever the rule.
  write(dir / "b", std::vector<int64_t>(50, 33), true);
  CHECK(open_loader({dir / "b"}, best(64), 1, order)->epoch_rows() == 50);
  // What two documents fill to the last token has no padding.
  std::vector<int64_t> pairs;
  for (int64_t n = 1; n < 64; ++n) pairs.insert(pairs.end(), {n, 64 - n});
  write(dir / "c", pairs, true);
  CHECK(open_loader({dir / "c"}, best(64), 1, order)->epoch_rows() == 63);
}

TEST_CASE("packing: best fit cuts only documents that are longer than a row and may be cut") {
  const test::TempDir dir;
  std::vector<int64_t> lengths = skewed_lengths(200, 64, 4);
  lengths.insert(lengths.end(), {65, 64, 200, 128});
  write(dir / "a", lengths, false);
  const auto loader = open_loader({dir / "a"}, best(64), 3, LoaderOrder::Shuffled);
  std::map<int32_t, int64_t> parts;  // first token of each part, and its length
  for (const Found& f : flat_sorted(rows_of(loader->batch(0, loader->epoch_rows()), 64))) {
    CHECK(parts.emplace(f.first, f.length).second);
  }
  int32_t first = 1;
  for (const int64_t n : lengths) {
    for (int64_t at = 0; at < n; at += 64) {
      CHECK(parts[first + static_cast<int32_t>(at)] == std::min<int64_t>(64, n - at));
    }
    first += static_cast<int32_t>(n);
  }
  write(dir / "b", lengths, true);
  CHECK_THROWS_WITH(open_loader({dir / "b"}, best(64), 3, LoaderOrder::Shuffled),
                    ContainsSubstring("must not be cut"));
}

TEST_CASE("packing: sources of both kinds mix, and joined rows stay joined") {
  const test::TempDir dir;
  write(dir / "a", skewed_lengths(200, 300, 5), false);
  write(dir / "b", skewed_lengths(200, 48, 6), true, 100000);
  const std::vector<std::string> sources = {(dir / "a") + "@0.7", (dir / "b") + "@0.3"};
  const auto loader = open_loader(sources, best(48), 3, LoaderOrder::Shuffled);
  const auto rows = rows_of(loader->batch(0, 100), 48);
  CHECK(std::count_if(rows.begin(), rows.end(),
                      [](const auto& row) { return row.front().first >= 100000; }) == 30);
  RowLayout joined = best(48);
  joined.document_mask = false;
  const Batch b = open_loader(sources, joined, 3, LoaderOrder::Shuffled)->batch(0, 100);
  CHECK(b.tokens == loader->batch(0, 100).tokens);
  CHECK(b.max_document == 48);
}

TEST_CASE("packing: filled rows are what they were when runs were saved with them") {
  const test::TempDir dir;
  write(dir / "a", skewed_lengths(120, 300, 7), false);
  write(dir / "b", skewed_lengths(120, 40, 8), true, 100000);
  const auto loader = open_loader({(dir / "a") + "@0.7", (dir / "b") + "@0.3"}, {.seq_len = 48}, 7,
                                  LoaderOrder::Shuffled);
  const Batch b = loader->batch(0, 1500);
  const auto hash = [](const std::vector<int32_t>& v) {
    return hash_hex({reinterpret_cast<const char*>(v.data()), v.size() * sizeof(int32_t)});
  };
  CHECK(hash(b.tokens) == "6bc8fa5378bb541d");
  CHECK(hash(b.targets) == "bc957df18d0aee6e");
  CHECK(hash(b.doc_offsets) == "bedc8ac6b69510f1");
}

TEST_CASE("packing: options are read and refused by name") {
  DataOptions o;
  CHECK(row_layout(o).pack == PackRule::Fill);
  o.pack = "best";
  o.buckets = {"1K", "4K"};
  CHECK(row_layout(o).buckets == std::vector<int64_t>{1024, 4096});
  o.buckets = {"4K", "1K"};
  CHECK_THROWS_WITH(row_layout(o), ContainsSubstring("ascending"));
  o.buckets = {"0"};
  CHECK_THROWS_AS(row_layout(o), UserError);
  o.buckets = {"many"};
  CHECK_THROWS_WITH(row_layout(o), ContainsSubstring("data.buckets"));
  o.buckets = {"1K"};
  o.pack = "fill";
  CHECK_THROWS_WITH(row_layout(o), ContainsSubstring("data.pack=best"));
  o.pack = "bets";
  CHECK_THROWS_WITH(row_layout(o), ContainsSubstring("fill or best"));
}
