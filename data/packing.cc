#include "data/packing.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "src/base/check.h"
#include "src/base/philox.h"

namespace pivot {
namespace {

constexpr size_t kPlansKept = 2;  // a batch may span two epochs
constexpr uint32_t kShuffleDocuments = 0;
constexpr uint32_t kShuffleRows = 1;

}  // namespace

PackedSource::PackedSource(std::vector<std::shared_ptr<const Shard>> shards, Options options)
    : shards_(std::move(shards)), options_(options) {
  first_document_.push_back(0);
  for (const auto& shard : shards_) {
    first_document_.push_back(first_document_.back() + shard->documents());
    tokens_ += shard->tokens();
    if (!shard->info().keep_whole) continue;
    any_whole_ = true;
    for (int64_t i = 0; i < shard->documents(); ++i) {
      const auto offsets = shard->offsets();
      const int64_t length = offsets[static_cast<size_t>(i) + 1] - offsets[static_cast<size_t>(i)];
      if (length > options_.seq_len) {
        throw_user("{}: document {} must not be cut and has {} tokens, a row has {}: raise seq_len",
                   shard->path(), i, length, options_.seq_len);
      }
    }
  }
  epoch_starts_ = {0};
}

const Shard& PackedSource::shard_of(int64_t document, int64_t* index) const {
  const auto after = std::upper_bound(first_document_.begin(), first_document_.end(), document);
  const size_t shard = static_cast<size_t>(after - first_document_.begin()) - 1;
  *index = document - first_document_[shard];
  return *shards_[shard];
}

int64_t PackedSource::length_of(int64_t document) const {
  int64_t index = 0;
  const Shard& shard = shard_of(document, &index);
  const size_t at = static_cast<size_t>(index);
  return shard.offsets()[at + 1] - shard.offsets()[at];
}

std::vector<int64_t> PackedSource::permutation(int64_t count, int64_t epoch,
                                               uint32_t purpose) const {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (options_.order == RowOrder::Sequential) return order;
  const Philox random(options_.seed, Stream::DataOrder, 2 * options_.stream + purpose);
  const uint64_t base = static_cast<uint64_t>(epoch) << 40;
  for (int64_t i = count - 1; i > 0; --i) {
    const uint64_t j = random.below(static_cast<uint64_t>(i) + 1, base + static_cast<uint64_t>(i));
    std::swap(order[static_cast<size_t>(i)], order[j]);
  }
  return order;
}

int64_t PackedSource::take(const Plan& plan, const Cursor& cursor, int64_t room) const {
  const int64_t document = plan.documents[static_cast<size_t>(cursor.rank)];
  const int64_t left = length_of(document) - cursor.offset;
  if (left <= room) return left;
  int64_t index = 0;
  return shard_of(document, &index).info().keep_whole ? 0 : room;
}

std::shared_ptr<const PackedSource::Plan> PackedSource::make_plan(int64_t epoch) const {
  auto plan = std::make_shared<Plan>();
  plan->documents = permutation(first_document_.back(), epoch, kShuffleDocuments);
  Cursor at;
  int64_t room = options_.seq_len;
  plan->row_starts.push_back(at);
  while (at.rank < first_document_.back()) {
    const int64_t length = room > 0 ? take(*plan, at, room) : 0;
    if (length == 0) {
      plan->row_starts.push_back(at);
      room = options_.seq_len;
      continue;
    }
    room -= length;
    at.offset += length;
    if (at.offset == length_of(plan->documents[static_cast<size_t>(at.rank)])) {
      at = {at.rank + 1, 0};
    }
  }
  const int64_t rows = static_cast<int64_t>(plan->row_starts.size());
  plan->row_starts.push_back(at);
  plan->rows = permutation(rows, epoch, kShuffleRows);
  return plan;
}

std::shared_ptr<const PackedSource::Plan> PackedSource::plan(int64_t epoch) const {
  const auto found = plans_.find(epoch);
  if (found != plans_.end()) return found->second;
  if (plans_.size() >= kPlansKept) plans_.erase(plans_.begin());
  return plans_[epoch] = make_plan(epoch);
}

int64_t PackedSource::epoch_rows() const {
  if (!any_whole_) return (tokens_ + options_.seq_len - 1) / options_.seq_len;
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(plan(0)->rows.size());
}

void PackedSource::append_row(int64_t row, Batch& batch) const {
  std::shared_ptr<const Plan> epoch_plan;
  int64_t row_in_epoch = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    int64_t epoch = 0;
    if (any_whole_) {
      while (epoch_starts_.back() <= row) {
        const int64_t last = static_cast<int64_t>(epoch_starts_.size()) - 1;
        epoch_starts_.push_back(epoch_starts_.back() +
                                static_cast<int64_t>(plan(last)->rows.size()));
      }
      const auto after = std::upper_bound(epoch_starts_.begin(), epoch_starts_.end(), row);
      epoch = after - epoch_starts_.begin() - 1;
      row_in_epoch = row - epoch_starts_[static_cast<size_t>(epoch)];
    } else {
      const int64_t rows = (tokens_ + options_.seq_len - 1) / options_.seq_len;
      epoch = row / rows;
      row_in_epoch = row % rows;
    }
    epoch_plan = plan(epoch);
  }
  const size_t packed = static_cast<size_t>(epoch_plan->rows[static_cast<size_t>(row_in_epoch)]);
  Cursor at = epoch_plan->row_starts[packed];
  const Cursor end = epoch_plan->row_starts[packed + 1];
  const int64_t first_token = static_cast<int64_t>(batch.tokens.size());
  int64_t room = options_.seq_len;
  while (at.rank < end.rank || (at.rank == end.rank && at.offset < end.offset)) {
    const int64_t document = epoch_plan->documents[static_cast<size_t>(at.rank)];
    const int64_t length = std::min(room, length_of(document) - at.offset);
    append_part(document, at.offset, length, batch);
    room -= length;
    at = {at.rank + 1, 0};
  }
  close_row(first_token, batch);
}

void PackedSource::append_part(int64_t document, int64_t offset, int64_t length,
                               Batch& batch) const {
  int64_t index = 0;
  const Shard& shard = shard_of(document, &index);
  const int64_t begin = shard.offsets()[static_cast<size_t>(index)] + offset;
  const size_t at = batch.tokens.size();
  const size_t count = static_cast<size_t>(length);
  batch.doc_offsets.push_back(static_cast<int32_t>(at));
  batch.tokens.resize(at + count);
  shard.read_tokens(begin, std::span(batch.tokens).subspan(at));
  std::vector<uint8_t> learnt(count);
  shard.read_mask(begin, learnt);
  const auto lengths = shard.token_bytes();
  // The target of the token before this part; where documents are apart it has none.
  const bool joined = !options_.document_mask && at % static_cast<size_t>(options_.seq_len) != 0;
  for (size_t i = joined ? 0 : 1; i < count; ++i) {
    const int32_t token = batch.tokens[at + i];
    batch.targets.push_back(learnt[i] != 0 ? token : kNoTarget);
    if (learnt[i] != 0) batch.bytes += lengths[static_cast<size_t>(token)];
  }
  // With documents joined the last token's target is pushed by what follows it.
  if (options_.document_mask) batch.targets.push_back(kNoTarget);
  for (int64_t i = 0; i < length; ++i) batch.positions.push_back(static_cast<int32_t>(i));
}

/// Pads to the row's end and, where documents are joined, makes the row one document.
void PackedSource::close_row(int64_t first_token, Batch& batch) const {
  const int64_t end = first_token + options_.seq_len;
  int32_t position = 0;
  if (static_cast<int64_t>(batch.tokens.size()) < end) {
    batch.doc_offsets.push_back(static_cast<int32_t>(batch.tokens.size()));
    while (static_cast<int64_t>(batch.tokens.size()) < end) {
      batch.tokens.push_back(0);
      batch.positions.push_back(position++);
    }
  }
  batch.targets.resize(static_cast<size_t>(end), kNoTarget);
  if (!options_.document_mask) {
    while (!batch.doc_offsets.empty() && batch.doc_offsets.back() >= first_token) {
      batch.doc_offsets.pop_back();
    }
    batch.doc_offsets.push_back(static_cast<int32_t>(first_token));
    for (int64_t i = 0; i < options_.seq_len; ++i) {
      batch.positions[static_cast<size_t>(first_token + i)] = static_cast<int32_t>(i);
    }
  }
  ++batch.rows;
}

}  // namespace pivot
