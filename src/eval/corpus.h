#pragma once
/// What an evaluation looks at: items (packed rows, or whole documents) of a set of shards.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/eval/predictor.h"

namespace pivot::eval {

/// The independent unit of statistics: documents that were drawn together.
struct Item {
  std::vector<EvalDocument> documents;
  int64_t bytes = 0;  // UTF-8 bytes that the asked tokens stand for; 0 where unknown
};

class Corpus {
 public:
  virtual ~Corpus() = default;
  virtual int64_t size() const = 0;
  virtual Item item(int64_t index) const = 0;
  virtual std::string tokenizer_hash() const = 0;
  /// Smallest vocabulary that covers the tokens.
  virtual int64_t vocab() const = 0;
  /// True where a loss mask says which tokens are asked.
  virtual bool masked() const { return false; }
};

/// Rows of seq_len tokens in the order of the shards, as validation during training sees them; a
/// document cut by a row's end becomes two. Throws UserError on missing or damaged shards.
std::unique_ptr<Corpus> open_rows(const std::vector<std::string>& sources, int64_t seq_len);

/// One whole document per item. Throws UserError on missing or damaged shards and on shards of
/// different tokenizers.
std::unique_ptr<Corpus> open_documents(const std::vector<std::string>& sources);

/// `limit` of `size` item numbers, rising: a sample without replacement that depends on the seed
/// alone. limit 0 takes all.
std::vector<int64_t> choose_items(int64_t size, int64_t limit, uint64_t seed);

}  // namespace pivot::eval
