#pragma once
/// Documents of one source laid into rows of fixed length, the same for everyone who asks.
///
/// Within an epoch the documents are shuffled (Philox, Fisher-Yates) and laid one behind the other.
/// A document that meets the end of a row goes on in the next one as a document of its own; one
/// that must be kept whole opens the next row instead, and the rest of its row is padding. The rows
/// of the epoch are then shuffled too, so that the parts of a long document do not follow one
/// another.

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

class PackedSource {
 public:
  struct Options {
    int64_t seq_len = 0;
    bool document_mask = true;
    uint64_t seed = 0;
    uint32_t stream = 0;  // number of the source, so that sources shuffle differently
    RowOrder order = RowOrder::Shuffled;
  };

  /// Throws UserError when a document that must be kept whole is longer than a row.
  PackedSource(std::vector<std::shared_ptr<const Shard>> shards, Options options);

  /// Appends row `row` to `batch`; rows count on through the epochs.
  void append_row(int64_t row, Batch& batch) const;

  /// Rows of the first epoch. (Where documents are kept whole, later epochs may differ by a few.)
  int64_t epoch_rows() const;
  int64_t tokens() const { return tokens_; }

 private:
  /// A place in the sequence of documents of an epoch.
  struct Cursor {
    int64_t rank = 0;    // index into Plan::documents
    int64_t offset = 0;  // tokens of that document already laid
  };
  struct Plan {
    std::vector<int64_t> documents;  // (documents): shuffled
    std::vector<Cursor> row_starts;  // (rows + 1), in the order of packing
    std::vector<int64_t> rows;       // (rows): shuffled indices into row_starts
  };

  std::shared_ptr<const Plan> plan(int64_t epoch) const;
  std::shared_ptr<const Plan> make_plan(int64_t epoch) const;
  std::vector<int64_t> permutation(int64_t count, int64_t epoch, uint32_t purpose) const;
  /// Tokens of the document at `cursor` that the row takes, 0 when it must be closed before it.
  int64_t take(const Plan& plan, const Cursor& cursor, int64_t room) const;
  void append_part(int64_t document, int64_t offset, int64_t length, Batch& batch) const;
  void close_row(int64_t first_token, Batch& batch) const;
  const Shard& shard_of(int64_t document, int64_t* index) const;
  int64_t length_of(int64_t document) const;

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
