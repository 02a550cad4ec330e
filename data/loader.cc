#include "data/loader.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "data/mixture.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/units.h"

namespace pivot {
namespace {

class ShardLoader : public Loader {
 public:
  ShardLoader(std::vector<std::unique_ptr<PackedSource>> sources, std::unique_ptr<Mixture> mixture,
              const ShardInfo& info, int64_t seq_len)
      : sources_(std::move(sources)),
        mixture_(std::move(mixture)),
        tokenizer_hash_(info.tokenizer_hash),
        vocab_(info.vocab),
        seq_len_(seq_len) {}

  Batch batch(int64_t first_row, int64_t rows) const override {
    PIVOT_CHECK(first_row >= 0 && rows >= 0, "rows [{}, {})", first_row, first_row + rows);
    Batch batch;
    const size_t tokens = static_cast<size_t>(rows * seq_len_);
    batch.tokens.reserve(tokens);
    batch.targets.reserve(tokens);
    batch.positions.reserve(tokens);
    for (int64_t row = first_row; row < first_row + rows; ++row) {
      const Mixture::Row place = mixture_ ? mixture_->at(row) : sequential(row);
      sources_[static_cast<size_t>(place.source)]->append_row(place.row, batch);
    }
    batch.doc_offsets.push_back(static_cast<int32_t>(batch.tokens.size()));
    for (size_t i = 1; i < batch.doc_offsets.size(); ++i) {
      batch.max_document =
          std::max<int64_t>(batch.max_document, batch.doc_offsets[i] - batch.doc_offsets[i - 1]);
    }
    return batch;
  }

  int64_t seq_len() const override { return seq_len_; }
  int64_t epoch_tokens() const override {
    int64_t sum = 0;
    for (const auto& s : sources_) sum += s->tokens();
    return sum;
  }
  int64_t epoch_rows() const override {
    int64_t sum = 0;
    for (const auto& s : sources_) sum += s->epoch_rows();
    return sum;
  }
  std::string tokenizer_hash() const override { return tokenizer_hash_; }
  int64_t vocab() const override { return vocab_; }

 private:
  /// Source after source, and again from the start.
  Mixture::Row sequential(int64_t row) const {
    const int64_t round = row / epoch_rows();
    int64_t left = row % epoch_rows();
    int64_t source = 0;
    while (left >= sources_[static_cast<size_t>(source)]->epoch_rows()) {
      left -= sources_[static_cast<size_t>(source++)]->epoch_rows();
    }
    return {source, round * sources_[static_cast<size_t>(source)]->epoch_rows() + left};
  }

  std::vector<std::unique_ptr<PackedSource>> sources_;
  std::unique_ptr<Mixture> mixture_;  // none: sequential
  std::string tokenizer_hash_;
  int64_t vocab_;
  int64_t seq_len_;
};

std::vector<std::shared_ptr<const Shard>> open_shards(const std::string& source,
                                                      const Shard** first) {
  std::vector<std::shared_ptr<const Shard>> shards;
  for (const std::string& path : resolve_shards(source)) {
    shards.push_back(std::make_shared<const Shard>(path));
    const ShardInfo& info = shards.back()->info();
    if (*first == nullptr) *first = shards.back().get();
    const ShardInfo& want = (*first)->info();
    if (info.tokenizer_hash != want.tokenizer_hash || info.vocab != want.vocab) {
      throw_user(
          "{} was written with tokenizer {} ({} tokens), {} with {} ({}): build one of them "
          "again with the other's tokenizer",
          path, info.tokenizer_hash, info.vocab, (*first)->path(), want.tokenizer_hash, want.vocab);
    }
  }
  return shards;
}

int64_t parse_bucket(const std::string& text) {
  try {
    return parse_count(text);
  } catch (const UserError& e) {
    throw_user("data.buckets: {}", e.what());
  }
}

}  // namespace

std::string tokenizer_beside(const std::vector<std::string>& sources) {
  if (sources.empty()) throw_user("no data: name shards in data.train");
  const std::string first = resolve_shards(parse_weighted_source(sources.front()).path).front();
  const std::string directory = std::filesystem::path(first).parent_path().string();
  return directory.empty() ? "." : directory;
}

RowLayout row_layout(const DataOptions& o) {
  if (o.pack != "fill" && o.pack != "best") throw_user("data.pack is {}: fill or best", o.pack);
  RowLayout layout{.seq_len = o.seq_len,
                   .document_mask = o.document_mask,
                   .pack = o.pack == "best" ? PackRule::Best : PackRule::Fill};
  if (!o.buckets.empty() && layout.pack != PackRule::Best) {
    throw_user("data.buckets are for data.pack=best; data.pack is {}", o.pack);
  }
  int64_t last = 0;
  for (const std::string& text : o.buckets) {
    layout.buckets.push_back(parse_bucket(text));
    if (layout.buckets.back() <= last) {
      throw_user("data.buckets: {} after {}; give ascending lengths such as 1K,4K", text, last);
    }
    last = layout.buckets.back();
  }
  return layout;
}

double padding_share(const Loader& loader) {
  return 1 - static_cast<double>(loader.epoch_tokens()) /
                 static_cast<double>(loader.epoch_rows() * loader.seq_len());
}

std::unique_ptr<Loader> open_loader(const std::vector<std::string>& sources,
                                    const RowLayout& layout, uint64_t seed, LoaderOrder order) {
  if (sources.empty()) throw_user("no data: name shards in data.train");
  if (layout.seq_len < 2) {
    throw_user("seq_len {}: a row needs at least 2 tokens", layout.seq_len);
  }
  const bool shuffled = order == LoaderOrder::Shuffled;
  std::vector<WeightedSource> weighted;
  std::vector<std::unique_ptr<PackedSource>> packed;
  const Shard* first = nullptr;
  for (const std::string& text : sources) {
    weighted.push_back(parse_weighted_source(text));
    packed.push_back(std::make_unique<PackedSource>(
        open_shards(weighted.back().path, &first),
        PackedSource::Options{.seq_len = layout.seq_len,
                              .document_mask = layout.document_mask,
                              .seed = seed,
                              .stream = static_cast<uint32_t>(packed.size()),
                              .order = shuffled ? RowOrder::Shuffled : RowOrder::Sequential,
                              .pack = layout.pack,
                              .buckets = layout.buckets}));
  }
  const ShardInfo info = first->info();
  return std::make_unique<ShardLoader>(
      std::move(packed), shuffled ? std::make_unique<Mixture>(weighted, seed) : nullptr, info,
      layout.seq_len);
}

}  // namespace pivot
