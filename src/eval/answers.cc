#include "src/eval/answers.h"

#include <bit>
#include <map>
#include <utility>

#include "src/base/check.h"

namespace pivot::eval {
namespace {

using Value = double (*)(const QuestionScore&);

double exact(const QuestionScore& q) {
  return q.score.exact ? 1 : 0;
}
double substring(const QuestionScore& q) {
  return q.score.substring ? 1 : 0;
}
double f1(const QuestionScore& q) {
  return q.score.f1;
}
double tokens(const QuestionScore& q) {
  return static_cast<double>(q.reply.tokens);
}
double ended(const QuestionScore& q) {
  return q.reply.ended ? 1 : 0;
}

// Sums by cluster, clusters in the order of their first question.
std::vector<Cluster> clusters_of(std::span<const QuestionScore> results, Value value) {
  std::vector<Cluster> clusters;
  std::map<std::string, size_t> known;
  for (const QuestionScore& q : results) {
    size_t at = clusters.size();
    if (!q.cluster.empty()) at = known.emplace(q.cluster, at).first->second;
    if (at == clusters.size()) clusters.emplace_back();
    clusters[at].sum += value(q);
    ++clusters[at].n;
  }
  return clusters;
}

Estimate mean(std::span<const QuestionScore> results, Value value) {
  return clustered_mean(clusters_of(results, value));
}

Estimate difference(std::span<const QuestionScore> a, std::span<const QuestionScore> b,
                    Value value) {
  return paired_difference(clusters_of(a, value), clusters_of(b, value));
}

double mcnemar_of(std::span<const QuestionScore> a, std::span<const QuestionScore> b, Value right) {
  int64_t only_a = 0, only_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    only_a += right(a[i]) > right(b[i]);
    only_b += right(b[i]) > right(a[i]);
  }
  return mcnemar(only_a, only_b);
}

}  // namespace

std::vector<QuestionScore> ask(Answerer& answerer, std::span<const Question> questions,
                               Progress& progress) {
  std::vector<QuestionScore> results(questions.size());
  size_t done = 0;
  answerer.answer(questions, [&](size_t i, Reply reply) {
    PIVOT_CHECK(i < questions.size() && results[i].prompt_tokens == 0, "a reply to question {}", i);
    const Question& q = questions[i];
    const TextScore score = score_text(reply.text, q.answers);
    results[i] = {q.id, q.cluster, static_cast<int64_t>(q.prompt.size()), std::move(reply), score};
    progress.add(results[i].prompt_tokens);
    ++done;
  });
  PIVOT_CHECK(done == questions.size(), "{} replies to {} questions", done, questions.size());
  return results;
}

AnswerScores score(std::span<const QuestionScore> results) {
  AnswerScores out{mean(results, exact),  mean(results, substring), mean(results, f1),
                   mean(results, tokens), mean(results, ended),     {}};
  std::map<int, std::vector<QuestionScore>> by_length;
  for (const QuestionScore& q : results) {
    by_length[std::bit_width(static_cast<uint64_t>(q.prompt_tokens)) - 1].push_back(q);
  }
  for (const auto& [power, part] : by_length) {
    out.lengths.push_back({int64_t{1} << power, int64_t{2} << power, mean(part, exact),
                           mean(part, substring), mean(part, f1)});
  }
  return out;
}

AnswerComparison compare(std::span<const QuestionScore> a, std::span<const QuestionScore> b) {
  PIVOT_CHECK(a.size() == b.size(), "{} and {} questions", a.size(), b.size());
  return {difference(a, b, exact), difference(a, b, substring), difference(a, b, f1),
          mcnemar_of(a, b, exact), mcnemar_of(a, b, substring)};
}

}  // namespace pivot::eval
