#pragma once
/// Names and checksums inside a shard, shared by its reader and writer.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/shard.h"

namespace pivot::shard_layout {

inline constexpr const char* kFormat = "pivot-shard";
inline constexpr const char* kTokens = "/tokens";
inline constexpr const char* kBlocks = "/block_hashes";
inline constexpr const char* kOffsets = "/doc_offsets";
inline constexpr const char* kTokenBytes = "/token_bytes";
inline constexpr const char* kLearnt = "/learnt_spans";
inline constexpr const char* kParameters = "/parameters";
inline constexpr const char* kProvenance = "/provenance";
inline constexpr const char* kHash = "xxh3";
inline constexpr const char* kHeaderHash = "header_xxh3";
inline constexpr int64_t kMaxNarrowVocab = 65535;  // uint16 tokens up to this vocabulary

std::string hash_bytes(std::span<const std::byte> bytes);

/// XXH3-64 of the stored (little-endian) bytes, 16 hex digits.
template <class T>
std::string hash_of(std::span<const T> values) {
  return hash_bytes(std::as_bytes(values));
}

/// XXH3-64 of one block of tokens, as int32 whatever their stored width.
int64_t block_hash(std::span<const int32_t> tokens);
/// One per kShardBlock tokens; the last block may be shorter.
std::vector<int64_t> block_hashes(std::span<const int32_t> tokens);

/// Identity of everything that is not an array: attributes, texts and the arrays' checksums in
/// `hashes`.
std::string header_hash(const ShardInfo& info, int64_t text_bytes,
                        const std::vector<std::string>& hashes);

}  // namespace pivot::shard_layout
