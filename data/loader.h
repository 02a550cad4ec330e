#pragma once
/// Deterministic batches from shards: row r of a run is a pure function of (options, seed, r).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/packing.h"

namespace pivot {

struct DataOptions {
  std::vector<std::string> train;       // "path@weight" of shard files, directories or globs
  std::vector<std::string> validation;  // the same; empty: no validation
  std::string tokenizer;                // "" takes the one recorded beside the first shard
  int64_t seq_len = 1024;               // tokens of a packed row
  bool document_mask = true;            // false: a row is one document (GPT style)
  std::string pack = "fill";
  std::vector<std::string> buckets;

  template <class V>
  void visit(V&& v) {
    v("train", train, "training shards: path or path@weight, comma separated");
    v("validation", validation, "held-out shards, same form");
    v("tokenizer", tokenizer, "'bytes' or a tokenizer path; empty takes the one beside the shards");
    v("seq_len", seq_len, "tokens of one packed row");
    v("document_mask", document_mask, "attention stays inside a document");
    v("pack", pack,
      "fill: documents one behind the other, cut by the end of a row; best: the fullest row that "
      "takes it, none cut that fits into a row");
    v("buckets", buckets,
      "pack=best: lengths such as 1K,4K; a row holds documents between two of them only");
  }
};

/// How documents become rows.
struct RowLayout {
  int64_t seq_len = 0;
  bool document_mask = true;
  PackRule pack = PackRule::Fill;
  std::vector<int64_t> buckets = {};  // PackedSource::Options
};
/// Throws UserError naming data.pack or data.buckets.
RowLayout row_layout(const DataOptions& options);

class Loader {
 public:
  virtual ~Loader() = default;
  /// Rows [first_row, first_row + rows) of the run as one batch. Row numbers count over the whole
  /// run: first_row = sequences consumed so far. Rows are seq_len tokens; one row of a source's
  /// epoch, and rows of documents that must be kept whole, may be padded at the end by a document
  /// without targets (token 0). With document_mask off a row is one document and padding has no
  /// targets. Safe to call from several threads.
  virtual Batch batch(int64_t first_row, int64_t rows) const = 0;
  virtual int64_t seq_len() const = 0;
  /// Tokens in one epoch over all sources.
  virtual int64_t epoch_tokens() const = 0;
  /// Sum over the sources of the rows of one epoch (validation: rows to see everything once).
  virtual int64_t epoch_rows() const = 0;
  virtual std::string tokenizer_hash() const = 0;
  /// Smallest vocabulary that covers the shards' tokens.
  virtual int64_t vocab() const = 0;
};

/// Directory of the first shard of `sources`, for load_tokenizer(): shards lie beside a copy of
/// their tokenizer.
std::string tokenizer_beside(const std::vector<std::string>& sources);

/// Opens, checks and mixes the shards. Row r of the run belongs to a source by exact proportion of
/// the weights (data/mixture.h); each source counts its own rows and shuffles anew every epoch.
/// Throws UserError on a missing or foreign shard or on shards of different tokenizers. With
/// `weights` ignored (validation) sources follow one another in order.
enum class LoaderOrder { Shuffled, Sequential };
std::unique_ptr<Loader> open_loader(const std::vector<std::string>& sources,
                                    const RowLayout& layout, uint64_t seed, LoaderOrder order);

/// Share of the rows of an epoch that is padding, 0 to 1.
double padding_share(const Loader& loader);

}  // namespace pivot
