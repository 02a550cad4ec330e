#include "data/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr const char* kReset = "\x1b[0m";

double entropy_bits(const std::vector<int64_t>& counts, int64_t total) {
  double sum = 0;
  for (const int64_t c : counts) {
    if (c > 0)
      sum -=
          static_cast<double>(c) * std::log2(static_cast<double>(c) / static_cast<double>(total));
  }
  return sum;
}

void count_tokens(const Shard& shard, std::vector<int64_t>& counts) {
  std::vector<int32_t> block;
  for (int64_t begin = 0; begin < shard.tokens(); begin += kShardBlock) {
    block.resize(static_cast<size_t>(std::min(kShardBlock, shard.tokens() - begin)));
    shard.read_tokens(begin, block);
    for (const int32_t id : block) ++counts[static_cast<size_t>(id)];
  }
}

std::string piece_text(const Tokenizer& tokenizer, int32_t token) {
  std::string text = tokenizer.piece(token);
  // A line end in a piece would break the display's own lines.
  for (size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 2)) {
    text.replace(at, 1, "\\n");
  }
  return text;
}

}  // namespace

ShardStatistics shard_statistics(const std::vector<std::string>& paths) {
  ShardStatistics s;
  std::vector<int64_t> counts, lengths;
  std::string hash;
  for (const std::string& path : paths) {
    const Shard shard(path);
    if (!hash.empty() && hash != shard.info().tokenizer_hash) {
      throw_user("{}: written with another tokenizer than {}", path, paths.front());
    }
    hash = shard.info().tokenizer_hash;
    counts.resize(static_cast<size_t>(shard.info().vocab), 0);
    count_tokens(shard, counts);
    ++s.shards;
    s.documents += shard.documents();
    s.tokens += shard.tokens();
    s.text_bytes += shard.text_bytes();
    for (const TokenSpan span : shard.learnt()) s.learnt += span.end - span.begin;
    const auto offsets = shard.offsets();
    for (size_t i = 1; i < offsets.size(); ++i) lengths.push_back(offsets[i] - offsets[i - 1]);
  }
  std::sort(lengths.begin(), lengths.end());
  s.shortest = lengths.front();
  s.median = lengths[lengths.size() / 2];
  s.longest = lengths.back();
  s.lengths.assign(static_cast<size_t>(std::bit_width(static_cast<uint64_t>(s.longest))), 0);
  for (const int64_t n : lengths) {
    ++s.lengths[static_cast<size_t>(std::bit_width(static_cast<uint64_t>(n))) - 1];
  }
  s.distinct = static_cast<int64_t>(counts.size()) - std::count(counts.begin(), counts.end(), 0);
  const double bits = entropy_bits(counts, s.tokens);
  s.entropy_bits_per_token = bits / static_cast<double>(s.tokens);
  if (s.text_bytes > 0) s.entropy_bits_per_byte = bits / static_cast<double>(s.text_bytes);
  return s;
}

std::string to_json(const ShardStatistics& s) {
  nlohmann::json histogram = nlohmann::json::array();
  for (size_t i = 0; i < s.lengths.size(); ++i) {
    histogram.push_back({{"from", int64_t{1} << i}, {"documents", s.lengths[i]}});
  }
  return nlohmann::json{
             {"shards", s.shards},
             {"documents", s.documents},
             {"tokens", s.tokens},
             {"text_bytes", s.text_bytes},
             {"bytes_per_token", static_cast<double>(s.text_bytes) / static_cast<double>(s.tokens)},
             {"distinct_tokens", s.distinct},
             {"target_share", static_cast<double>(s.learnt) / static_cast<double>(s.tokens)},
             {"entropy_bits_per_token", s.entropy_bits_per_token},
             {"entropy_bits_per_byte", s.entropy_bits_per_byte},
             {"length_min", s.shortest},
             {"length_median", s.median},
             {"length_max", s.longest},
             {"lengths", histogram}}
             .dump(2) +
         "\n";
}

std::string to_table(const ShardStatistics& s) {
  const double tokens = static_cast<double>(s.tokens);
  const std::string out = fmt::format(
      "shards            {}\ndocuments         {}\ntokens            {}\ntext              {} "
      "({:.3f} bytes per token)\ndistinct tokens   {}\ntargets           {:.2f}% of the "
      "tokens\nunigram entropy   {:.4f} bits per token, {:.4f} bits per byte\ndocument length   {} "
      "to {} tokens, median {}\n",
      s.shards, s.documents, s.tokens, format_bytes(static_cast<double>(s.text_bytes)),
      static_cast<double>(s.text_bytes) / tokens, s.distinct,
      100 * static_cast<double>(s.learnt) / tokens, s.entropy_bits_per_token,
      s.entropy_bits_per_byte, s.shortest, s.longest, s.median);
  return out + length_histogram(s.lengths);
}

std::string length_histogram(const std::vector<int64_t>& lengths) {
  if (lengths.empty()) return "";
  std::string out;
  const int64_t most = std::max<int64_t>(*std::max_element(lengths.begin(), lengths.end()), 1);
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] == 0) continue;
    out += fmt::format("  {:>9} tokens  {:>10}  {}\n",
                       fmt::format("{}-{}", int64_t{1} << i, (int64_t{2} << i) - 1), lengths[i],
                       std::string(static_cast<size_t>(1 + 39 * lengths[i] / most), '#'));
  }
  return out;
}

std::string show_tokens(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                        std::span<const uint8_t> learnt, Style style, int64_t document) {
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string text = piece_text(tokenizer, tokens[i]);
    if (style == Style::Plain) {
      out +=
          fmt::format("{}{}", i == 0 ? "" : " ", learnt[i] != 0 ? fmt::format("[{}]", text) : text);
    } else {
      const char* background = document % 2 == 0 ? "\x1b[48;5;235m" : "\x1b[48;5;238m";
      out += background;
      out += learnt[i] != 0 ? "\x1b[1;32m" : "\x1b[2m";
      out += text + kReset;
    }
  }
  return out;
}

std::string show_batch(const Tokenizer& tokenizer, const Batch& batch, Style style) {
  std::string out;
  for (size_t d = 0; d + 1 < batch.doc_offsets.size(); ++d) {
    const size_t begin = static_cast<size_t>(batch.doc_offsets[d]);
    const size_t end = static_cast<size_t>(batch.doc_offsets[d + 1]);
    std::vector<uint8_t> learnt(end - begin, 0);
    for (size_t t = begin; t + 1 < end; ++t) {
      if (batch.targets[t] != kNoTarget) learnt[t + 1 - begin] = 1;
    }
    out += fmt::format("document {} ({} tokens)\n", d, end - begin);
    out += show_tokens(tokenizer, std::span(batch.tokens).subspan(begin, end - begin), learnt,
                       style, static_cast<int64_t>(d));
    out += '\n';
  }
  return out;
}

}  // namespace pivot
