#pragma once
/// What is in a set of shards, in figures and for the eye.

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/shard.h"
#include "data/tokenizer.h"

namespace pivot {

struct ShardStatistics {
  int64_t shards = 0;
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t text_bytes = 0;
  int64_t learnt = 0;  // tokens that are targets
  int64_t distinct = 0;
  int64_t shortest = 0, median = 0, longest = 0;  // document lengths
  std::vector<int64_t> lengths;                   // [i]: documents of 2^i to 2^(i+1) - 1 tokens
  double entropy_bits_per_token = 0;              // of the tokens' own unigram distribution
  double entropy_bits_per_byte = 0;               // 0 without text
};

ShardStatistics shard_statistics(const std::vector<std::string>& paths);
std::string to_json(const ShardStatistics& statistics);
std::string to_table(const ShardStatistics& statistics);
/// Bars for `lengths` as above, a line each; empty ones are left out.
std::string length_histogram(const std::vector<int64_t>& lengths);

/// How tokens are told apart: with colours (documents alternate, targets bold and green) or,
/// without, a line per document and [brackets] around targets.
enum class Style { Plain, Color };
std::string show_tokens(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                        std::span<const uint8_t> learnt, Style style, int64_t document);
/// A packed row: every document in it, and padding.
std::string show_batch(const Tokenizer& tokenizer, const Batch& batch, Style style);

}  // namespace pivot
