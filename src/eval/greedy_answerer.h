#pragma once
/// Replies by greedy decoding, several questions side by side.

#include "data/tokenizer.h"
#include "src/decode/engine.h"
#include "src/eval/answers.h"

namespace pivot::eval {

/// Where a reply ends.
struct ReplyEnd {
  int64_t max_tokens = 0;
  std::vector<int32_t> ids;        // tokens that end it; they and their text are no part of it
  std::vector<std::string> texts;  // likewise, matched on the decoded text
};

class GreedyAnswerer : public Answerer {
 public:
  /// `model` and `tokenizer` must outlive this. A prompt and its reply fit options.max_context;
  /// options.max_sequences questions are answered side by side, which changes no reply.
  GreedyAnswerer(const Model& model, const EngineOptions& options, Device device, ThreadPool& pool,
                 const Tokenizer& tokenizer, ReplyEnd end);

  /// All tokens of a prompt but the last are prefilled; the last and the reply are steps with the
  /// decoding attention. The most probable token is taken, the lowest id among equals.
  void answer(std::span<const Question> questions, const Done& done) override;
  std::vector<double> kept_mass() const override { return engine_.kept_mass(); }

 private:
  struct Walk;
  void start(Walk& walk, const Question& question);
  void take(Walk& walk);

  size_t side_by_side_;
  Engine engine_;
  const Tokenizer& tokenizer_;
  ReplyEnd end_;
};

}  // namespace pivot::eval
