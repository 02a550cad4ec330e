#include "src/eval/greedy_answerer.h"

#include <algorithm>
#include <list>
#include <utility>

#include "src/base/check.h"
#include "src/decode/sampler.h"
#include "src/decode/text_stream.h"

namespace pivot::eval {

// A question on its way through the decoder.
struct GreedyAnswerer::Walk {
  size_t question;
  StreamDecoder decoder;
  StopMatcher matcher;
  int id = -1;        // of the engine
  int32_t next = -1;  // token to be stepped
  bool done = false;
  Reply reply = {};
};

GreedyAnswerer::GreedyAnswerer(const Model& model, const EngineOptions& options, Device device,
                               ThreadPool& pool, const Tokenizer& tokenizer, ReplyEnd end)
    : side_by_side_(static_cast<size_t>(options.max_sequences)),
      engine_(model, options, device, pool),
      tokenizer_(tokenizer),
      end_(std::move(end)) {}

void GreedyAnswerer::start(Walk& walk, const Question& question) {
  const std::vector<int32_t>& prompt = question.prompt;
  const auto needed = static_cast<int64_t>(prompt.size()) + end_.max_tokens;
  if (needed > engine_.max_context()) {
    throw_user("question {}: prompt and reply take {} tokens, the decoder was given room for {}",
               question.id, needed, engine_.max_context());
  }
  if (prompt.size() == 1) {
    walk.id = engine_.prefill(prompt);
    take(walk);
  } else {
    walk.id = engine_.prefill({prompt.begin(), prompt.end() - 1});
    walk.next = prompt.back();
  }
}

// The most probable token joins the reply.
void GreedyAnswerer::take(Walk& walk) {
  const int64_t valid = std::min(engine_.vocab(), tokenizer_.vocab());
  const std::span logits(engine_.logits(walk.id), static_cast<size_t>(engine_.vocab()));
  static const SamplerOptions kGreedy{.temperature = 0};
  walk.next = sample_token(logits, valid, kGreedy, {}, 0, 0).id;
  ++walk.reply.tokens;
  if (std::count(end_.ids.begin(), end_.ids.end(), walk.next) > 0) {
    walk.reply.ended = walk.done = true;
  } else {
    walk.reply.text += walk.matcher.push(walk.decoder.push(walk.next));
    walk.reply.ended = walk.matcher.stopped();
    walk.done = walk.reply.ended || walk.reply.tokens == end_.max_tokens;
  }
  if (!walk.done) return;
  if (!walk.matcher.stopped()) {
    walk.reply.text += walk.matcher.push(walk.decoder.finish());
    walk.reply.text += walk.matcher.finish();
  }
  engine_.release(walk.id);
}

void GreedyAnswerer::answer(std::span<const Question> questions, const Done& done) {
  std::list<Walk> walks;
  size_t next_question = 0;
  const auto finish = [&] {
    for (Walk& walk : walks) {
      if (walk.done) done(walk.question, std::move(walk.reply));
    }
    walks.remove_if([](const Walk& walk) { return walk.done; });
  };
  while (next_question < questions.size() || !walks.empty()) {
    while (next_question < questions.size() && walks.size() < side_by_side_) {
      walks.push_back({.question = next_question,
                       .decoder = StreamDecoder(tokenizer_, ControlTokens::Skip),
                       .matcher = StopMatcher(end_.texts)});
      start(walks.back(), questions[next_question++]);
    }
    finish();  // a prompt of one token may be answered by one token
    if (walks.empty()) continue;
    std::vector<int> ids;
    std::vector<int32_t> tokens;
    for (const Walk& walk : walks) {
      ids.push_back(walk.id);
      tokens.push_back(walk.next);
    }
    engine_.step(ids, tokens);
    for (Walk& walk : walks) take(walk);
    finish();
  }
}

}  // namespace pivot::eval
