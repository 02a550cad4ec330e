#pragma once
/// Documents of one source laid into rows of fixed length, the same for everyone who asks.
///
/// Within an epoch the documents are shuffled (Philox, Fisher-Yates). PackRule::Fill lays them one
/// behind the other: a document that meets the end of a row goes on in the next one as a document
/// of its own; one that must be kept whole opens the next row instead, and the rest of its row is
/// padding. PackRule::Best cuts no document that fits into a row: windows of shuffled documents,
/// longest first, each go to the open row with the least room that takes them; a longer document
/// (which need not be kept whole) fills rows of its own, and what is left of it is one more
/// document. The rows of the epoch are then shuffled too, so that the parts of a long document and
/// documents of one length do not follow one another.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/shard.h"

namespace pivot {

enum class RowOrder { Shuffled, Sequential };
enum class PackRule { Fill, Best };

class PackedSource {
 public:
  struct Options {
    int64_t seq_len = 0;
    bool document_mask = true;
    uint64_t seed = 0;
    uint32_t stream = 0;  // number of the source, so that sources shuffle differently
    RowOrder order = RowOrder::Shuffled;
    PackRule pack = PackRule::Fill;
    /// Best: ascending lengths; a row holds documents of one bucket, up to buckets[0] tokens, up to
    /// buckets[1], ... or longer than all. Empty: one bucket.
    std::vector<int64_t> buckets = {};
  };

  /// Throws UserError when a document that must be kept whole is longer than a row.
  PackedSource(std::vector<std::shared_ptr<const Shard>> shards, Options options);

  /// Appends row `row` to `batch`; rows count on through the epochs.
  void append_row(int64_t row, Batch& batch) const;

  /// Rows of the first epoch. (Where documents are kept whole, later epochs may differ by a few.)
  int64_t epoch_rows() const;
  int64_t tokens() const { return tokens_; }

 private:
  /// A document, or the part of it that begins at `offset`. It ends with the document or its row.
  struct Part {
    uint32_t document = 0;
    uint32_t offset = 0;
  };
  struct Plan {
    std::vector<Part> parts;
    std::vector<int64_t> row_begin;  // (rows + 1): first part of each row, in order of packing
    std::vector<int64_t> rows;       // (rows): shuffled indices into row_begin
  };

  std::shared_ptr<const Plan> plan(int64_t epoch) const;
  std::shared_ptr<const Plan> make_plan(int64_t epoch) const;
  std::vector<int64_t> permutation(int64_t count, int64_t epoch, uint32_t purpose) const;
  void fill_rows(const std::vector<int64_t>& documents, Plan& plan) const;
  void fit_rows(const std::vector<int64_t>& documents, Plan& plan) const;
  /// Rows depend on the documents' lengths, so that epochs may differ in their number.
  bool rows_vary() const { return any_whole_ || options_.pack == PackRule::Best; }
  void append_part(int64_t document, int64_t offset, int64_t length, Batch& batch) const;
  void close_row(int64_t first_token, Batch& batch) const;
  const Shard& shard_of(int64_t document, int64_t* index) const;
  int64_t length_of(int64_t document) const;
  bool keep_whole(int64_t document) const;

  std::vector<std::shared_ptr<const Shard>> shards_;
  std::vector<int64_t> first_document_;  // (shards + 1)
  Options options_;
  int64_t tokens_ = 0;
  bool any_whole_ = false;
  mutable std::mutex mutex_;
  mutable std::vector<int64_t> epoch_starts_;  // first row of each epoch known so far
  mutable std::map<int64_t, std::shared_ptr<const Plan>> plans_;  // of the last epochs used
};

}  // namespace pivot
