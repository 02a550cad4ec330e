#pragma once
/// Accuracy on generated tasks: the loss mask of a document marks its answers.

#include <string>
#include <vector>

#include "src/eval/predictor.h"
#include "src/eval/progress.h"
#include "src/eval/statistics.h"

namespace pivot::eval {

/// One answer: consecutive asked tokens. The prompt is everything before it, earlier answers as
/// they should be. It is right when every token of it is the most probable one after the true ones
/// before: exactly then greedy generation from the prompt would have produced it.
struct Answer {
  int64_t row = 0;  // of the first asked row: the last token of the prompt
  std::vector<int32_t> wanted;
  std::vector<int32_t> predicted;
  double logprob = 0;  // of the wanted tokens, summed, nats
  bool right() const { return wanted == predicted; }
};

struct DocumentAnswers {
  int64_t id = 0;
  std::vector<Answer> answers;
};

struct RetrievalTask {
  std::vector<EvalDocument> documents;

  std::vector<DocumentAnswers> run(Predictor& predictor, Progress& progress) const;
};

struct RetrievalScores {
  Estimate answers;    // share of answers right
  Estimate tokens;     // share of answer tokens right
  Estimate documents;  // share of documents with all answers right
  Estimate loss;       // nats per answer token
};
RetrievalScores score(const std::vector<DocumentAnswers>& results);

struct RetrievalComparison {
  Estimate difference;  // answers right, b - a, paired by answer, clustered by document
  int64_t only_a = 0, only_b = 0;
  double mcnemar_p = 1;
};
/// Both must come from the same documents.
RetrievalComparison compare(const std::vector<DocumentAnswers>& a,
                            const std::vector<DocumentAnswers>& b);

}  // namespace pivot::eval
