#include <algorithm>
#include <cstring>
#include <filesystem>

#include <fmt/ranges.h>
#include <xxhash.h>

#include "data/shard.h"
#include "data/shard_layout.h"
#include "data/text_source.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/core/hdf5.h"

namespace pivot {

namespace fs = std::filesystem;

namespace shard_layout {

std::string hash_bytes(std::span<const std::byte> bytes) {
  return hash_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

int64_t block_hash(std::span<const int32_t> tokens) {
  return static_cast<int64_t>(XXH3_64bits(tokens.data(), tokens.size_bytes()));
}

std::vector<int64_t> block_hashes(std::span<const int32_t> tokens) {
  std::vector<int64_t> hashes;
  for (size_t at = 0; at < tokens.size(); at += kShardBlock) {
    hashes.push_back(
        block_hash(tokens.subspan(at, std::min<size_t>(kShardBlock, tokens.size() - at))));
  }
  return hashes;
}

std::string header_hash(const ShardInfo& info, int64_t text_bytes,
                        const std::vector<std::string>& hashes) {
  return hash_hex(fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", info.tokenizer_kind,
                              info.tokenizer_hash, info.vocab, info.keep_whole, text_bytes,
                              info.task, info.parameters, info.provenance,
                              fmt::join(hashes, "\n")));
}

}  // namespace shard_layout

namespace {

using namespace shard_layout;

template <class T>
std::vector<T> read_hashed(const hdf5::File& file, const char* path,
                           std::vector<std::string>& hashes) {
  std::vector<T> values = file.read_array<T>(path);
  const std::string want = file.string_attribute(path, kHash);
  const std::string got = hash_of<T>(values);
  if (want != got) {
    throw_user("{}: {} is damaged: checksum {}, recorded {}; build or copy the shard again",
               file.path(), path, got, want);
  }
  hashes.push_back(got);
  return values;
}

}  // namespace

void Shard::fail(const std::string& what) const {
  throw_user("{}: {}; build or copy the shard again", path_, what);
}

Shard::Shard(const std::string& path) : path_(path) {
  const hdf5::File file = hdf5::File::open(path);
  if (!file.has_attribute("/", "format") || file.string_attribute("/", "format") != kFormat) {
    throw_user("{} is an HDF5 file, but not a token shard ('pivot data build' writes them)", path);
  }
  const int64_t version = file.int64_attribute("/", "version");
  if (version != kShardVersion) {
    throw_user("{}: shard format {}, this pivot reads {}", path, version, kShardVersion);
  }
  info_.tokenizer_kind = file.string_attribute("/", "tokenizer_kind");
  info_.tokenizer_hash = file.string_attribute("/", "tokenizer_hash");
  info_.vocab = file.int64_attribute("/", "vocab");
  info_.keep_whole = file.int64_attribute("/", "keep_whole") != 0;
  info_.task = file.string_attribute("/", "task");
  info_.parameters = file.read_text(kParameters);
  info_.provenance = file.read_text(kProvenance);
  text_bytes_ = file.int64_attribute("/", "text_bytes");
  content_hash_ = file.string_attribute(kTokens, kHash);
  std::vector<std::string> hashes = {content_hash_};
  block_hashes_ = read_hashed<int64_t>(file, kBlocks, hashes);
  offsets_ = read_hashed<int64_t>(file, kOffsets, hashes);
  token_bytes_ = read_hashed<uint16_t>(file, kTokenBytes, hashes);
  masked_ = file.exists(kLearnt);
  std::vector<int64_t> ends;
  if (masked_) ends = read_hashed<int64_t>(file, kLearnt, hashes);
  if (file.string_attribute("/", kHeaderHash) != header_hash(info_, text_bytes_, hashes)) {
    fail("its attributes are damaged: they fail their checksum");
  }
  const hdf5::Dataset tokens = file.dataset(kTokens);
  narrow_ = tokens.type() == hdf5::Type::U16;
  if (!narrow_) tokens.require_type(hdf5::Type::I32);
  if (static_cast<int64_t>(token_bytes_.size()) != info_.vocab) fail("/token_bytes is not (V)");
  if (offsets_.size() < 2 || offsets_.front() != 0 || offsets_.back() != tokens.size()) {
    fail(fmt::format("/doc_offsets does not span the {} tokens", tokens.size()));
  }
  for (size_t i = 1; i < offsets_.size(); ++i) {
    if (offsets_[i] <= offsets_[i - 1]) fail(fmt::format("document {} has no tokens", i - 1));
  }
  if (static_cast<int64_t>(block_hashes_.size()) !=
      (tokens.size() + kShardBlock - 1) / kShardBlock) {
    fail("/block_hashes does not cover the tokens");
  }
  map_ = std::make_unique<MappedFile>(path);
  stored_ =
      map_->bytes().subspan(static_cast<size_t>(tokens.file_offset()),
                            static_cast<size_t>(tokens.size() * hdf5::size_of(tokens.type())));
  block_seen_.assign(block_hashes_.size(), 0);
  if (!masked_) learnt_ = {{0, tokens.size()}};
  for (size_t i = 0; i + 1 < ends.size(); i += 2) learnt_.push_back({ends[i], ends[i + 1]});
  int64_t last = 0;
  for (const TokenSpan s : learnt_) {
    if (s.begin < last || s.end <= s.begin || s.end > tokens.size())
      fail("/learnt_spans not ascending");
    last = s.end;
  }
}

void Shard::copy_tokens(int64_t begin, std::span<int32_t> out) const {
  const size_t width = narrow_ ? sizeof(uint16_t) : sizeof(int32_t);
  const std::byte* from = stored_.data() + static_cast<size_t>(begin) * width;
  if (!narrow_) {
    std::memcpy(out.data(), from, out.size_bytes());
    return;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t token = 0;  // the file need not align it
    std::memcpy(&token, from + i * sizeof(token), sizeof(token));
    out[i] = token;
  }
}

void Shard::check_block(int64_t block) const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (block_seen_[static_cast<size_t>(block)] != 0) return;
  }
  const int64_t begin = block * kShardBlock;
  std::vector<int32_t> tokens(
      static_cast<size_t>(std::min<int64_t>(kShardBlock, this->tokens() - begin)));
  copy_tokens(begin, tokens);
  if (block_hash(tokens) != block_hashes_[static_cast<size_t>(block)]) {
    fail(fmt::format("/tokens is damaged: tokens {} to {} fail their checksum", begin,
                     begin + static_cast<int64_t>(tokens.size()) - 1));
  }
  for (const int32_t id : tokens) {
    if (id < 0 || id >= info_.vocab) {
      fail(fmt::format("/tokens holds {}, outside the vocabulary of {}", id, info_.vocab));
    }
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  block_seen_[static_cast<size_t>(block)] = 1;
}

void Shard::read_tokens(int64_t begin, std::span<int32_t> out) const {
  const int64_t end = begin + static_cast<int64_t>(out.size());
  PIVOT_CHECK(begin >= 0 && end <= tokens(), "tokens [{}, {}) of {}", begin, end, tokens());
  if (out.empty()) return;
  for (int64_t block = begin / kShardBlock; block <= (end - 1) / kShardBlock; ++block) {
    check_block(block);
  }
  copy_tokens(begin, out);
}

std::vector<int32_t> Shard::document(int64_t index) const {
  PIVOT_CHECK(index >= 0 && index < documents(), "document {} of {}", index, documents());
  const size_t at = static_cast<size_t>(index);
  std::vector<int32_t> tokens(static_cast<size_t>(offsets_[at + 1] - offsets_[at]));
  read_tokens(offsets_[at], tokens);
  return tokens;
}

void Shard::read_mask(int64_t begin, std::span<uint8_t> out) const {
  const int64_t end = begin + static_cast<int64_t>(out.size());
  std::fill(out.begin(), out.end(), uint8_t{0});
  auto span = std::upper_bound(learnt_.begin(), learnt_.end(), begin,
                               [](int64_t at, const TokenSpan& s) { return at < s.end; });
  for (; span != learnt_.end() && span->begin < end; ++span) {
    for (int64_t t = std::max(begin, span->begin); t < std::min(end, span->end); ++t) {
      out[static_cast<size_t>(t - begin)] = 1;
    }
  }
}

std::vector<TokenSpan> Shard::learnt_in(int64_t index) const {
  PIVOT_CHECK(index >= 0 && index < documents(), "document {} of {}", index, documents());
  const int64_t begin = offsets_[static_cast<size_t>(index)];
  const int64_t end = offsets_[static_cast<size_t>(index) + 1];
  std::vector<TokenSpan> spans;
  auto span = std::upper_bound(learnt_.begin(), learnt_.end(), begin,
                               [](int64_t at, const TokenSpan& s) { return at < s.end; });
  for (; span != learnt_.end() && span->begin < end; ++span) {
    spans.push_back({std::max(begin, span->begin) - begin, std::min(end, span->end) - begin});
  }
  return spans;
}

void Shard::verify() const {
  for (int64_t block = 0; block < static_cast<int64_t>(block_hashes_.size()); ++block) {
    check_block(block);
  }
  const std::string hash = hash_bytes(stored_);
  if (hash != content_hash_) {
    fail(fmt::format("/tokens: checksum {}, recorded {}", hash, content_hash_));
  }
}

std::vector<std::string> resolve_shards(const std::string& source) {
  if (!fs::is_directory(source)) {
    if (fs::exists(source)) return {source};
    std::vector<std::string> files = expand_glob(source);
    if (files.empty()) throw_user("cannot read {}: no such shard or directory", source);
    return files;
  }
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(source)) {
    if (entry.is_regular_file() && entry.path().extension() == ".h5") {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  if (!files.empty()) return files;
  if (fs::is_directory(source + "/train")) {
    throw_user("{} is a data set: name {}/train or {}/validation", source, source, source);
  }
  throw_user("{}: no shards (*.h5) in this directory", source);
}

void require_tokenizer(const Shard& shard, const Tokenizer& tokenizer) {
  if (shard.info().tokenizer_hash == tokenizer.hash()) return;
  throw_user("{}: written with another tokenizer ({} {}, this one is {} {})", shard.path(),
             shard.info().tokenizer_kind, shard.info().tokenizer_hash, tokenizer.kind(),
             tokenizer.hash());
}

}  // namespace pivot
