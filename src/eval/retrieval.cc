#include "src/eval/retrieval.h"

#include <span>

#include "src/base/check.h"

namespace pivot::eval {
namespace {

DocumentAnswers collect(const EvalDocument& document, const std::vector<Prediction>& predictions) {
  DocumentAnswers out{document.id, {}};
  const std::vector<int64_t> rows = asked_rows(document);
  PIVOT_CHECK(rows.size() == predictions.size(), "{} rows asked, {} predictions", rows.size(),
              predictions.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i] != rows[i - 1] + 1) out.answers.push_back({rows[i], {}, {}, 0});
    Answer& answer = out.answers.back();
    answer.wanted.push_back(document.targets[static_cast<size_t>(rows[i])]);
    answer.predicted.push_back(predictions[i].token);
    answer.logprob += predictions[i].logprob;
  }
  return out;
}

// Documents [begin, result) hold about `tokens` tokens, and at least one document.
size_t batch_end(const std::vector<EvalDocument>& documents, size_t begin, int64_t tokens) {
  size_t end = begin;
  int64_t sum = 0;
  while (end < documents.size()) {
    sum += static_cast<int64_t>(documents[end].tokens.size());
    if (end > begin && sum > tokens) break;
    ++end;
  }
  return end;
}

std::vector<Cluster> right_answers(const std::vector<DocumentAnswers>& results) {
  std::vector<Cluster> clusters;
  for (const DocumentAnswers& d : results) {
    Cluster& c = clusters.emplace_back();
    for (const Answer& a : d.answers) {
      c.sum += a.right();
      ++c.n;
    }
  }
  return clusters;
}

}  // namespace

std::vector<DocumentAnswers> RetrievalTask::run(Predictor& predictor, Progress& progress) const {
  std::vector<DocumentAnswers> out;
  for (size_t begin = 0; begin < documents.size();) {
    const size_t end = batch_end(documents, begin, predictor.batch_tokens());
    const std::span<const EvalDocument> batch(documents.data() + begin, end - begin);
    const auto predictions = predictor.predict(batch, Want::TokenToo);
    int64_t tokens = 0;
    for (size_t d = 0; d < batch.size(); ++d) {
      out.push_back(collect(batch[d], predictions[d]));
      tokens += static_cast<int64_t>(batch[d].tokens.size());
    }
    progress.add(tokens);
    begin = end;
  }
  return out;
}

RetrievalScores score(const std::vector<DocumentAnswers>& results) {
  std::vector<Cluster> tokens, documents, losses;
  for (const DocumentAnswers& d : results) {
    Cluster& token = tokens.emplace_back();
    Cluster& loss = losses.emplace_back();
    bool all = true;
    for (const Answer& a : d.answers) {
      for (size_t i = 0; i < a.wanted.size(); ++i) token.sum += a.wanted[i] == a.predicted[i];
      token.n += static_cast<int64_t>(a.wanted.size());
      loss.sum -= a.logprob;
      all = all && a.right();
    }
    loss.n = token.n;
    if (!d.answers.empty()) documents.push_back({all ? 1.0 : 0.0, 1});
  }
  return {clustered_mean(right_answers(results)), clustered_mean(tokens), clustered_mean(documents),
          clustered_mean(losses)};
}

RetrievalComparison compare(const std::vector<DocumentAnswers>& a,
                            const std::vector<DocumentAnswers>& b) {
  RetrievalComparison out;
  out.difference = paired_difference(right_answers(a), right_answers(b));
  for (size_t d = 0; d < a.size(); ++d) {
    for (size_t i = 0; i < a[d].answers.size(); ++i) {
      const bool in_a = a[d].answers[i].right();
      const bool in_b = b[d].answers[i].right();
      out.only_a += in_a && !in_b;
      out.only_b += in_b && !in_a;
    }
  }
  out.mcnemar_p = mcnemar(out.only_a, out.only_b);
  return out;
}

}  // namespace pivot::eval
