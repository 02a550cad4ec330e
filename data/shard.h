#pragma once
/// Token shards: documents as token ids in HDF5 (docs/formats/shard.md).

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"
#include "src/base/file.h"

namespace pivot {

inline constexpr int64_t kShardVersion = 1;
inline constexpr int64_t kShardBlock = 1 << 16;  // tokens that share one checksum

/// What all shards of a set have in common.
struct ShardInfo {
  std::string tokenizer_kind;
  std::string tokenizer_hash;
  int64_t vocab = 0;
  bool keep_whole = false;  // documents must not be cut (generated tasks, conversations)
  std::string task;         // generated task, "" for text
  std::string parameters;   // JSON: options of the task or of the build
  std::string provenance;   // JSON: source files, pivot version
};

/// A half-open range of token indices inside one shard.
struct TokenSpan {
  int64_t begin = 0;
  int64_t end = 0;
  friend bool operator==(const TokenSpan&, const TokenSpan&) = default;
};

/// Collects documents and writes them as `directory`/shard-00000.h5, shard-00001.h5, ... Each file
/// is written under a temporary name, flushed and renamed when it is full, so no half-written shard
/// is ever seen. Memory: one shard.
class ShardWriter {
 public:
  /// Creates `directory`. `token_bytes` (V): bytes of text each token stands for.
  ShardWriter(std::string directory, ShardInfo info, std::vector<uint16_t> token_bytes,
              int64_t shard_tokens);

  /// `learnt`: ascending spans inside the document of the tokens that are targets; ignored unless
  /// `masked`, without which every token is one. Throws Error when the disk is full.
  enum class Mask { None, Spans };
  void add(std::span<const int32_t> tokens, int64_t text_bytes, Mask mask = Mask::None,
           std::span<const TokenSpan> learnt = {});
  /// Writes what is left. Without documents no file is written.
  void finish();

  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }
  const std::vector<std::string>& files() const { return files_; }

 private:
  void write_shard();
  std::string directory_;
  ShardInfo info_;
  std::vector<uint16_t> token_bytes_;
  int64_t shard_tokens_;
  // The shard that is being filled.
  std::vector<int32_t> pending_;
  std::vector<int64_t> offsets_ = {0};
  std::vector<TokenSpan> learnt_;
  bool masked_ = false;
  int64_t text_bytes_ = 0;
  int64_t documents_ = 0;
  int64_t tokens_ = 0;
  std::vector<std::string> files_;
};

/// Reads one shard. Offsets, spans and byte lengths are checked against their checksums when it is
/// opened, tokens block by block when they are first read. Tokens stay in the mapped file: memory
/// is that of the other arrays. Safe to read from several threads.
class Shard {
 public:
  /// Throws UserError naming the file and what is wrong with it.
  explicit Shard(const std::string& path);

  const std::string& path() const { return path_; }
  const ShardInfo& info() const { return info_; }
  int64_t documents() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t tokens() const { return offsets_.back(); }
  int64_t text_bytes() const { return text_bytes_; }
  /// (documents + 1): first token of each document.
  std::span<const int64_t> offsets() const { return offsets_; }
  bool masked() const { return masked_; }
  /// Spans of the tokens to be learnt; every token where the shard is not masked.
  std::span<const TokenSpan> learnt() const { return learnt_; }
  /// Whether each of the tokens [begin, begin + out.size()) is to be learnt: 1 or 0.
  void read_mask(int64_t begin, std::span<uint8_t> out) const;
  /// Spans of document `index` that are to be learnt, counted from its first token: in shards of
  /// generated tasks the answers.
  std::vector<TokenSpan> learnt_in(int64_t index) const;
  /// Tokens [begin, begin + out.size()). Throws UserError when they fail their checksum or lie
  /// outside the vocabulary.
  void read_tokens(int64_t begin, std::span<int32_t> out) const;
  std::vector<int32_t> document(int64_t index) const;
  /// (V)
  std::span<const uint16_t> token_bytes() const { return token_bytes_; }
  /// xxh3 of all tokens, as recorded.
  const std::string& content_hash() const { return content_hash_; }

  /// Reads everything and compares with every checksum. Throws UserError naming the damage.
  void verify() const;

 private:
  void check_block(int64_t block) const;
  void copy_tokens(int64_t begin, std::span<int32_t> out) const;
  [[noreturn]] void fail(const std::string& what) const;

  std::string path_;
  ShardInfo info_;
  int64_t text_bytes_ = 0;
  bool masked_ = false;
  std::vector<int64_t> offsets_;
  std::vector<TokenSpan> learnt_;
  std::vector<uint16_t> token_bytes_;
  std::vector<int64_t> block_hashes_;
  std::string content_hash_;
  std::unique_ptr<MappedFile> map_;
  std::span<const std::byte> stored_;  // the tokens, little-endian
  bool narrow_ = true;                 // uint16, else int32
  mutable std::mutex mutex_;
  mutable std::vector<uint8_t> block_seen_;
};

/// Shard files that a path, directory (its *.h5 files) or glob stands for, sorted. Throws UserError
/// when there are none, naming train/ and validation/ where the directory is a whole data set.
std::vector<std::string> resolve_shards(const std::string& source);

/// token_bytes() of every token, for ShardWriter.
std::vector<uint16_t> token_byte_table(const Tokenizer& tokenizer);

/// Throws UserError naming both hashes unless `shard` was written with `tokenizer`.
void require_tokenizer(const Shard& shard, const Tokenizer& tokenizer);

}  // namespace pivot
