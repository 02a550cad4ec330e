#include "src/eval/decoding_path.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot::eval {
namespace {

// A document on its way through the decoder.
struct Walk {
  size_t document;
  std::vector<int64_t> rows;  // asked
  size_t next_asked = 0;      // index into rows
  int64_t fed = 0;            // tokens the engine has seen
  int id = -1;                // of the engine

  bool done() const { return next_asked == rows.size(); }
};

}  // namespace

DecodingPath::DecodingPath(const Model& model, const EngineOptions& options, Device device,
                           ThreadPool& pool)
    : options_(options), engine_(model, options, device, pool) {}

int64_t DecodingPath::batch_tokens() const {
  return options_.max_context * options_.max_sequences;
}

std::vector<std::vector<Prediction>> DecodingPath::predict(std::span<const EvalDocument> documents,
                                                           Want) {
  std::vector<std::vector<Prediction>> results(documents.size());
  std::vector<Walk> walks;
  size_t next_document = 0;

  const auto read = [&](Walk& walk) {
    if (walk.done() || walk.rows[walk.next_asked] != walk.fed - 1) return;
    const int32_t target = documents[walk.document].targets[static_cast<size_t>(walk.fed - 1)];
    results[walk.document].push_back(
        read_logits({engine_.logits(walk.id), static_cast<size_t>(engine_.vocab())}, target));
    ++walk.next_asked;
  };
  const auto start = [&](size_t d) {
    const EvalDocument& document = documents[d];
    if (static_cast<int64_t>(document.tokens.size()) > options_.max_context) {
      throw_user("document {} has {} tokens, the decoder was given room for {}", document.id,
                 document.tokens.size(), options_.max_context);
    }
    Walk walk{d, asked_rows(document), 0, 0, -1};
    if (walk.done()) return;
    walk.fed = std::max<int64_t>(1, walk.rows[0]);
    walk.id = engine_.prefill({document.tokens.begin(), document.tokens.begin() + walk.fed});
    read(walk);
    if (walk.done()) {
      engine_.release(walk.id);
    } else {
      walks.push_back(std::move(walk));
    }
  };

  while (next_document < documents.size() || !walks.empty()) {
    while (next_document < documents.size() &&
           walks.size() < static_cast<size_t>(options_.max_sequences)) {
      start(next_document++);
    }
    if (walks.empty()) continue;
    std::vector<int> ids;
    std::vector<int32_t> tokens;
    for (const Walk& walk : walks) {
      ids.push_back(walk.id);
      tokens.push_back(documents[walk.document].tokens[static_cast<size_t>(walk.fed)]);
    }
    engine_.step(ids, tokens);
    for (Walk& walk : walks) {
      ++walk.fed;
      read(walk);
      if (walk.done()) engine_.release(walk.id);
    }
    std::erase_if(walks, [](const Walk& walk) { return walk.done(); });
  }
  return results;
}

}  // namespace pivot::eval
