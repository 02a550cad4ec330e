#include "src/eval/perplexity.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/base/check.h"

namespace pivot::eval {
namespace {

// Row t predicts token t + 1, which belongs to the prefix when t + 1 < prefix.
void drop_prefix(EvalDocument& document, int64_t prefix) {
  const auto end = std::min(prefix - 1, static_cast<int64_t>(document.targets.size()));
  for (int64_t t = 0; t < end; ++t) document.targets[static_cast<size_t>(t)] = kNoTarget;
}

void add_losses(const EvalDocument& document, const std::vector<Prediction>& predictions,
                ItemLoss& item, std::vector<PositionBucket>& buckets) {
  const std::vector<int64_t> rows = asked_rows(document);
  PIVOT_CHECK(rows.size() == predictions.size(), "{} rows asked, {} predictions", rows.size(),
              predictions.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t b = position_bucket(rows[i]);
    while (buckets.size() <= b) {
      const int64_t from = buckets.empty() ? 0 : buckets.back().to;
      buckets.push_back({from, from == 0 ? 1 : 2 * from, 0, 0});
    }
    buckets[b].loss -= predictions[i].logprob;
    ++buckets[b].n;
    item.loss -= predictions[i].logprob;
    ++item.n;
  }
}

std::vector<Cluster> clusters_of(const PerplexityResult& result) {
  std::vector<Cluster> clusters;
  for (const ItemLoss& item : result.items) clusters.push_back({item.loss, item.n});
  return clusters;
}

}  // namespace

size_t position_bucket(int64_t row) {
  return static_cast<size_t>(std::bit_width(static_cast<uint64_t>(row)));
}

PerplexityResult PerplexityTask::run(Predictor& predictor, Progress& progress) const {
  PerplexityResult out;
  bool bytes_known = prefix <= 1;
  for (size_t begin = 0; begin < items.size();) {
    std::vector<EvalDocument> documents;
    std::vector<size_t> owner;  // of each document: index into out.items
    int64_t tokens = 0;
    size_t end = begin;
    for (; end < items.size() && (end == begin || tokens < predictor.batch_tokens()); ++end) {
      Item item = corpus.item(items[end]);
      bytes_known = bytes_known && item.bytes > 0;
      out.bytes += item.bytes;
      for (EvalDocument& document : item.documents) {
        drop_prefix(document, prefix);
        tokens += static_cast<int64_t>(document.tokens.size());
        documents.push_back(std::move(document));
        owner.push_back(out.items.size());
      }
      out.items.push_back({items[end], 0, 0});
    }
    const auto predictions = predictor.predict(documents, Want::Logprob);
    for (size_t d = 0; d < documents.size(); ++d) {
      add_losses(documents[d], predictions[d], out.items[owner[d]], out.buckets);
    }
    progress.add(tokens);
    begin = end;
  }
  if (!bytes_known) out.bytes = 0;
  return out;
}

PerplexityScores score(const PerplexityResult& result) {
  PerplexityScores out;
  out.loss = clustered_mean(clusters_of(result));
  const double perplexity = std::exp(out.loss.value);
  out.perplexity = {perplexity, perplexity * out.loss.stderr_value, out.loss.n};
  if (result.bytes > 0) {
    const double bits =
        static_cast<double>(out.loss.n) / (static_cast<double>(result.bytes) * std::log(2.0));
    out.bits_per_byte = {out.loss.value * bits, out.loss.stderr_value * bits, result.bytes};
  }
  return out;
}

Estimate compare(const PerplexityResult& a, const PerplexityResult& b) {
  return paired_difference(clusters_of(a), clusters_of(b));
}

}  // namespace pivot::eval
