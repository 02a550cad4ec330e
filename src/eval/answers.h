#pragma once
/// Questions whose answers a model writes itself, compared with the right ones as texts.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "src/eval/progress.h"
#include "src/eval/statistics.h"
#include "src/eval/text_metrics.h"

namespace pivot::eval {

struct Question {
  int64_t id = 0;                    // number in its file
  std::string cluster;               // questions that share it are not independent; "" has its own
  std::vector<int32_t> prompt;       // (T)
  std::vector<std::string> answers;  // each of them is right; at least one
};

struct Reply {
  std::string text;
  int64_t tokens = 0;
  bool ended = false;  // by an end of the turn; else cut off
};

/// What writes replies: the model, or a script in tests.
class Answerer {
 public:
  using Done = std::function<void(size_t question, Reply reply)>;

  virtual ~Answerer() = default;
  /// Calls `done` once for each question, in any order.
  virtual void answer(std::span<const Question> questions, const Done& done) = 0;
  /// Mean share of the softmax on kept keys so far, per layer; empty where it is not known.
  virtual std::vector<double> kept_mass() const { return {}; }
};

struct QuestionScore {
  int64_t id = 0;
  std::string cluster;
  int64_t prompt_tokens = 0;
  Reply reply;
  TextScore score;
};

/// One result for each question, in their order.
std::vector<QuestionScore> ask(Answerer& answerer, std::span<const Question> questions,
                               Progress& progress);

/// Means over questions whose prompts have [from, to) tokens.
struct LengthBucket {
  int64_t from = 0, to = 0;
  Estimate exact, substring, f1;
};

struct AnswerScores {
  Estimate exact, substring, f1;
  Estimate tokens;                    // of a reply
  Estimate ended;                     // share of replies that were not cut off
  std::vector<LengthBucket> lengths;  // [2^i, 2^(i+1)), those with questions
};
AnswerScores score(std::span<const QuestionScore> results);

/// b - a, paired by question; both must come from the same questions.
struct AnswerComparison {
  Estimate exact, substring, f1;
  double exact_p = 1, substring_p = 1;  // McNemar's
};
AnswerComparison compare(std::span<const QuestionScore> a, std::span<const QuestionScore> b);

}  // namespace pivot::eval
