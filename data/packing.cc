#include "data/packing.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "src/base/check.h"
#include "src/base/philox.h"

namespace pivot {
namespace {

constexpr size_t kPlansKept = 2;  // a batch may span two epochs
constexpr uint32_t kShuffleDocuments = 0;
constexpr uint32_t kShuffleRows = 1;
// Documents that are sorted at a time. Padding with lengths of median 1500 (lognormal, sigma 0.8)
// in rows of 8192: one at a time 0.84 %, 512 0.22 %, 4096 0.08 %, a whole epoch 0.06 %; of uniform
// lengths 1.6, 1.2, 0.65 and 0.13 % (one behind the other: 18 and 25 %). Smaller windows mix
// lengths better over an epoch.
constexpr size_t kWindowDocuments = 4096;

struct OpenRow {
  int64_t room = 0;
  int64_t row = 0;
  friend auto operator<=>(const OpenRow&, const OpenRow&) = default;
};

/// A part of a document and the row it was given.
struct Piece {
  uint32_t document = 0;
  uint32_t offset = 0;
  int64_t length = 0;
  int64_t row = 0;
};

}  // namespace

PackedSource::PackedSource(std::vector<std::shared_ptr<const Shard>> shards, Options options)
    : shards_(std::move(shards)), options_(std::move(options)) {
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();  // of Part
  first_document_.push_back(0);
  for (const auto& shard : shards_) {
    first_document_.push_back(first_document_.back() + shard->documents());
    tokens_ += shard->tokens();
    PIVOT_CHECK(first_document_.back() <= kMost && shard->tokens() <= kMost,
                "{} documents, {} tokens in a shard", first_document_.back(), shard->tokens());
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

bool PackedSource::keep_whole(int64_t document) const {
  int64_t index = 0;
  return shard_of(document, &index).info().keep_whole;
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

void PackedSource::fill_rows(const std::vector<int64_t>& documents, Plan& plan) const {
  int64_t room = options_.seq_len;
  plan.row_begin.push_back(0);
  const auto open_row = [&] {
    plan.row_begin.push_back(static_cast<int64_t>(plan.parts.size()));
    room = options_.seq_len;
  };
  for (const int64_t document : documents) {
    const int64_t length = length_of(document);
    if (room == 0 || (length > room && keep_whole(document))) open_row();
    for (int64_t offset = 0; offset < length;) {
      if (room == 0) open_row();
      const int64_t taken = std::min(room, length - offset);
      plan.parts.push_back({static_cast<uint32_t>(document), static_cast<uint32_t>(offset)});
      room -= taken;
      offset += taken;
    }
  }
  plan.row_begin.push_back(static_cast<int64_t>(plan.parts.size()));
}

void PackedSource::fit_rows(const std::vector<int64_t>& documents, Plan& plan) const {
  const auto& buckets = options_.buckets;
  std::vector<std::set<OpenRow>> open(buckets.size() + 1);  // by bucket
  int64_t rows = 0;
  const auto place = [&](Piece& piece) {
    const auto bucket = std::lower_bound(buckets.begin(), buckets.end(), piece.length);
    std::set<OpenRow>& candidates = open[static_cast<size_t>(bucket - buckets.begin())];
    OpenRow chosen{options_.seq_len, rows};
    const auto fullest = candidates.lower_bound({piece.length, 0});
    if (fullest != candidates.end()) {
      chosen = *fullest;
      candidates.erase(fullest);
    } else {
      ++rows;
    }
    piece.row = chosen.row;
    chosen.room -= piece.length;
    if (chosen.room > 0) candidates.insert(chosen);
  };
  std::vector<Piece> pieces;
  for (size_t begin = 0; begin < documents.size(); begin += kWindowDocuments) {
    const auto window = static_cast<std::ptrdiff_t>(pieces.size());
    const size_t end = std::min(begin + kWindowDocuments, documents.size());
    for (size_t i = begin; i < end; ++i) {
      const int64_t length = length_of(documents[i]);
      for (int64_t offset = 0; offset < length; offset += options_.seq_len) {
        pieces.push_back({.document = static_cast<uint32_t>(documents[i]),
                          .offset = static_cast<uint32_t>(offset),
                          .length = std::min(options_.seq_len, length - offset)});
      }
    }
    std::stable_sort(pieces.begin() + window, pieces.end(),
                     [](const Piece& a, const Piece& b) { return a.length > b.length; });
    std::for_each(pieces.begin() + window, pieces.end(), place);
  }
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.row < b.row; });
  for (const Piece& piece : pieces) {
    if (piece.row == static_cast<int64_t>(plan.row_begin.size())) {
      plan.row_begin.push_back(static_cast<int64_t>(plan.parts.size()));
    }
    plan.parts.push_back({piece.document, piece.offset});
  }
  plan.row_begin.push_back(static_cast<int64_t>(plan.parts.size()));
}

std::shared_ptr<const PackedSource::Plan> PackedSource::make_plan(int64_t epoch) const {
  auto plan = std::make_shared<Plan>();
  const std::vector<int64_t> documents =
      permutation(first_document_.back(), epoch, kShuffleDocuments);
  if (options_.pack == PackRule::Best) {
    fit_rows(documents, *plan);
  } else {
    fill_rows(documents, *plan);
  }
  plan->rows = permutation(static_cast<int64_t>(plan->row_begin.size()) - 1, epoch, kShuffleRows);
  return plan;
}

std::shared_ptr<const PackedSource::Plan> PackedSource::plan(int64_t epoch) const {
  const auto found = plans_.find(epoch);
  if (found != plans_.end()) return found->second;
  if (plans_.size() >= kPlansKept) plans_.erase(plans_.begin());
  return plans_[epoch] = make_plan(epoch);
}

int64_t PackedSource::epoch_rows() const {
  if (!rows_vary()) return (tokens_ + options_.seq_len - 1) / options_.seq_len;
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(plan(0)->rows.size());
}

void PackedSource::append_row(int64_t row, Batch& batch) const {
  std::shared_ptr<const Plan> epoch_plan;
  int64_t row_in_epoch = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    int64_t epoch = 0;
    if (rows_vary()) {
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
  const auto packed = static_cast<size_t>(epoch_plan->rows[static_cast<size_t>(row_in_epoch)]);
  const auto begin = epoch_plan->row_begin[packed], end = epoch_plan->row_begin[packed + 1];
  const int64_t first_token = static_cast<int64_t>(batch.tokens.size());
  int64_t room = options_.seq_len;
  for (int64_t i = begin; i < end; ++i) {
    const Part part = epoch_plan->parts[static_cast<size_t>(i)];
    const int64_t length = std::min(room, length_of(part.document) - part.offset);
    append_part(part.document, part.offset, length, batch);
    room -= length;
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
