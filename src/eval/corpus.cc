#include "src/eval/corpus.h"

#include <algorithm>
#include <numeric>

#include "data/loader.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/philox.h"

namespace pivot::eval {
namespace {

class Rows : public Corpus {
 public:
  explicit Rows(std::unique_ptr<Loader> loader) : loader_(std::move(loader)) {}

  int64_t size() const override { return loader_->epoch_rows(); }
  std::string tokenizer_hash() const override { return loader_->tokenizer_hash(); }
  int64_t vocab() const override { return loader_->vocab(); }

  Item item(int64_t index) const override {
    const Batch batch = loader_->batch(index, 1);
    Item out;
    out.bytes = batch.bytes;
    for (size_t d = 0; d + 1 < batch.doc_offsets.size(); ++d) {
      const auto begin = batch.doc_offsets[d], end = batch.doc_offsets[d + 1];
      EvalDocument document;
      document.id = index;
      document.tokens.assign(batch.tokens.begin() + begin, batch.tokens.begin() + end);
      document.targets.assign(batch.targets.begin() + begin, batch.targets.begin() + end);
      // Padding at the end of an epoch asks for nothing.
      if (!asked_rows(document).empty()) out.documents.push_back(std::move(document));
    }
    return out;
  }

 private:
  std::unique_ptr<Loader> loader_;
};

class Documents : public Corpus {
 public:
  explicit Documents(const std::vector<std::string>& sources) {
    for (const std::string& source : sources) {
      for (const std::string& path : resolve_shards(source)) {
        shards_.push_back(std::make_unique<Shard>(path));
        first_.push_back(size_);
        size_ += shards_.back()->documents();
        masked_ = masked_ || shards_.back()->masked();
        check_same_tokenizer(*shards_.back());
      }
    }
  }

  int64_t size() const override { return size_; }
  std::string tokenizer_hash() const override { return shards_.front()->info().tokenizer_hash; }
  bool masked() const override { return masked_; }
  int64_t vocab() const override {
    int64_t vocab = 0;
    for (const auto& shard : shards_) vocab = std::max(vocab, shard->info().vocab);
    return vocab;
  }

  Item item(int64_t index) const override {
    const auto s = static_cast<size_t>(std::upper_bound(first_.begin(), first_.end(), index) -
                                       first_.begin() - 1);
    const Shard& shard = *shards_[s];
    const int64_t local = index - first_[s];
    EvalDocument document;
    document.id = index;
    document.tokens = shard.document(local);
    document.targets.assign(document.tokens.size(), kNoTarget);
    std::vector<uint8_t> learnt(document.tokens.size());
    shard.read_mask(shard.offsets()[static_cast<size_t>(local)], learnt);
    for (size_t t = 0; t + 1 < document.tokens.size(); ++t) {
      if (learnt[t + 1] != 0) document.targets[t] = document.tokens[t + 1];
    }
    Item out;
    if (!asked_rows(document).empty()) out.documents.push_back(std::move(document));
    return out;
  }

 private:
  void check_same_tokenizer(const Shard& shard) const {
    if (shard.info().tokenizer_hash == tokenizer_hash()) return;
    throw_user("{} was made with tokenizer {}, {} with {}; evaluate them one by one", shard.path(),
               shard.info().tokenizer_hash, shards_.front()->path(), tokenizer_hash());
  }

  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<int64_t> first_;  // number of each shard's first document
  int64_t size_ = 0;
  bool masked_ = false;
};

}  // namespace

std::unique_ptr<Corpus> open_documents(const std::vector<std::string>& sources) {
  return std::make_unique<Documents>(sources);
}

std::unique_ptr<Corpus> open_rows(const std::vector<std::string>& sources, int64_t seq_len) {
  return std::make_unique<Rows>(
      open_loader(sources, {.seq_len = seq_len}, 0, LoaderOrder::Sequential));
}

std::vector<int64_t> choose_items(int64_t size, int64_t limit, uint64_t seed) {
  std::vector<int64_t> items(static_cast<size_t>(size));
  std::iota(items.begin(), items.end(), int64_t{0});
  if (limit == 0 || limit >= size) return items;
  // The beginning of a Fisher-Yates shuffle.
  const Philox random(seed, Stream::Sample);
  for (int64_t i = 0; i < limit; ++i) {
    const auto other = i + static_cast<int64_t>(random.below(static_cast<uint64_t>(size - i),
                                                             static_cast<uint64_t>(i)));
    std::swap(items[static_cast<size_t>(i)], items[static_cast<size_t>(other)]);
  }
  items.resize(static_cast<size_t>(limit));
  std::sort(items.begin(), items.end());
  return items;
}

}  // namespace pivot::eval
