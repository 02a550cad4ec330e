#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <utility>

#include "build_info.h"
#include "data/shard.h"
#include "data/shard_layout.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/core/hdf5.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

template <class T>
std::string write_hashed(hdf5::File& file, const char* path, std::span<const T> values) {
  const std::string hash = shard_layout::hash_of(values);
  file.write_array<T>(path, values);
  file.set_attribute(path, shard_layout::kHash, hash);
  return hash;
}

/// Removes the unfinished file when writing it throws.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!path_.empty()) std::remove(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  void publish(const std::string& name) {
    fsync_path(path_);
    if (std::rename(path_.c_str(), name.c_str()) != 0) throw_error("cannot rename to {}", name);
    fsync_path(fs::path(name).parent_path().string());
    path_.clear();
  }

 private:
  std::string path_;
};

}  // namespace

ShardWriter::ShardWriter(std::string directory, ShardInfo info, std::vector<uint16_t> token_bytes,
                         int64_t shard_tokens)
    : directory_(std::move(directory)),
      info_(std::move(info)),
      token_bytes_(std::move(token_bytes)),
      shard_tokens_(shard_tokens) {
  PIVOT_CHECK(static_cast<int64_t>(token_bytes_.size()) == info_.vocab, "{} lengths, vocab {}",
              token_bytes_.size(), info_.vocab);
  if (shard_tokens_ < 1) throw_user("--shard-tokens {}: must be positive", shard_tokens_);
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) throw_error("cannot create {}: {}", directory_, error.message());
}

void ShardWriter::add(std::span<const int32_t> tokens, int64_t text_bytes, Mask mask,
                      std::span<const TokenSpan> learnt) {
  if (tokens.empty()) return;
  const int64_t start = offsets_.back();
  const int64_t length = static_cast<int64_t>(tokens.size());
  if (start > 0 && start + length > shard_tokens_) {
    write_shard();
    return add(tokens, text_bytes, mask, learnt);
  }
  PIVOT_CHECK(start == 0 || masked_ == (mask == Mask::Spans), "masks on some documents only");
  masked_ = mask == Mask::Spans;
  for (const int32_t id : tokens) {
    PIVOT_CHECK(id >= 0 && id < info_.vocab, "token {} outside vocabulary {}", id, info_.vocab);
  }
  pending_.insert(pending_.end(), tokens.begin(), tokens.end());
  for (const TokenSpan span : learnt) {
    PIVOT_CHECK(0 <= span.begin && span.begin < span.end && span.end <= length, "span [{}, {})",
                span.begin, span.end);
    learnt_.push_back({start + span.begin, start + span.end});
  }
  offsets_.push_back(start + length);
  text_bytes_ += text_bytes;
  ++documents_;
  tokens_ += length;
}

void ShardWriter::finish() {
  if (offsets_.size() > 1) write_shard();
}

void ShardWriter::write_shard() {
  using namespace shard_layout;
  const std::string name = fmt::format("{}/shard-{:05}.h5", directory_, files_.size());
  const int64_t width = info_.vocab <= kMaxNarrowVocab ? 2 : 4;
  const int64_t bytes = static_cast<int64_t>(pending_.size()) * width +
                        static_cast<int64_t>(offsets_.size()) * 8 +
                        static_cast<int64_t>(learnt_.size()) * 16 + info_.vocab * 2 + (1 << 20);
  require_free_disk(directory_, bytes, "a shard");
  TemporaryFile temporary(name + ".tmp");
  {
    hdf5::File file = hdf5::File::create(name + ".tmp");
    file.set_attribute("/", "format", kFormat);
    file.set_attribute("/", "version", kShardVersion);
    file.set_attribute("/", "pivot_version", kVersion);
    file.set_attribute("/", "tokenizer_kind", info_.tokenizer_kind);
    file.set_attribute("/", "tokenizer_hash", info_.tokenizer_hash);
    file.set_attribute("/", "vocab", info_.vocab);
    file.set_attribute("/", "text_bytes", text_bytes_);
    file.set_attribute("/", "keep_whole", int64_t{info_.keep_whole});
    file.set_attribute("/", "task", info_.task);
    file.write_text(kParameters, info_.parameters);
    file.write_text(kProvenance, info_.provenance);
    std::vector<std::string> hashes;
    if (width == 2) {
      const std::vector<uint16_t> narrow(pending_.begin(), pending_.end());
      hashes.push_back(write_hashed<uint16_t>(file, kTokens, narrow));
    } else {
      hashes.push_back(write_hashed<int32_t>(file, kTokens, pending_));
    }
    hashes.push_back(write_hashed<int64_t>(file, kBlocks, block_hashes(pending_)));
    hashes.push_back(write_hashed<int64_t>(file, kOffsets, offsets_));
    hashes.push_back(write_hashed<uint16_t>(file, kTokenBytes, token_bytes_));
    if (masked_) {
      std::vector<int64_t> ends;
      for (const TokenSpan s : learnt_) ends.insert(ends.end(), {s.begin, s.end});
      hashes.push_back(write_hashed<int64_t>(file, kLearnt, ends));
    }
    file.set_attribute("/", kHeaderHash, header_hash(info_, text_bytes_, hashes));
    file.close();
  }
  temporary.publish(name);
  files_.push_back(name);
  pending_.clear();
  offsets_ = {0};
  learnt_.clear();
  text_bytes_ = 0;
}

std::vector<uint16_t> token_byte_table(const Tokenizer& tokenizer) {
  std::vector<uint16_t> table;
  for (int32_t id = 0; id < tokenizer.vocab(); ++id) {
    table.push_back(static_cast<uint16_t>(
        std::min<int32_t>(tokenizer.token_bytes(id), std::numeric_limits<uint16_t>::max())));
  }
  return table;
}

}  // namespace pivot
