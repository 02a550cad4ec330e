#include "src/decode/generate.h"

#include <algorithm>
#include <chrono>
#include <span>

#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "src/decode/text_stream.h"

namespace pivot {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One sample while it grows.
struct Sample {
  Sample(int index, const Tokenizer& tokenizer, const GenerateOptions& options,
         const std::vector<int32_t>& prompt)
      : number(index),
        decoder(tokenizer, options.control),
        matcher(options.stop),
        context(prompt) {}

  bool running() const { return result.finish == Finish::Running; }

  int number;
  int sequence = -1;  // of the engine
  StreamDecoder decoder;
  StopMatcher matcher;
  std::vector<int32_t> context;  // prompt and generated tokens
  Generation result;
};

// Sequences of the engine that end with the loop, whatever way it ends.
class Sequences {
 public:
  explicit Sequences(Engine& engine) : engine_(engine) {}
  ~Sequences() {
    for (const int id : ids_) engine_.release(id);
  }
  Sequences(const Sequences&) = delete;
  Sequences& operator=(const Sequences&) = delete;
  int add(int id) {
    ids_.push_back(id);
    return id;
  }

 private:
  Engine& engine_;
  std::vector<int> ids_;
};

class Loop {
 public:
  Loop(Engine& engine, const Tokenizer& tokenizer, const GenerateOptions& options,
       const OnText& on_text)
      : engine_(engine),
        tokenizer_(tokenizer),
        options_(options),
        on_text_(on_text),
        sequences_(engine) {
    if (options_.end_ids.empty()) options_.end_ids = {tokenizer.eos()};
  }

  GenerateResult run(const std::vector<int32_t>& prompt) {
    GenerateResult result;
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < options_.samples; ++i) {
      add_sample(prompt, sequences_.add(i == 0 ? engine_.prefill(prompt)
                                               : engine_.fork(samples_[0].sequence)));
    }
    result.timing.prompt_tokens = static_cast<int64_t>(prompt.size());
    result.timing.prefill_seconds = seconds_since(begin);
    decode(result);
    return result;
  }

  GenerateResult run(const std::vector<int32_t>& prompt, PromptCache& cache) {
    GenerateResult result;
    const Clock::time_point begin = Clock::now();
    const bool complete = cache.run(prompt, &interrupted);
    result.timing.prompt_tokens = static_cast<int64_t>(prompt.size());
    result.timing.reused_tokens = cache.reused();
    result.timing.prefill_seconds = seconds_since(begin);
    add_sample(prompt, cache.sequence());
    if (complete) {
      const int64_t before = engine_.length(cache.sequence());
      decode(result);
      // The last token has been sampled, not seen.
      const std::vector<int32_t>& ids = result.samples[0].ids;
      cache.decoded({ids.begin(), ids.begin() + (engine_.length(cache.sequence()) - before)});
    } else {
      samples_[0].result.finish = Finish::Interrupted;
      result.samples.push_back(std::move(samples_[0].result));
    }
    return result;
  }

 private:
  void add_sample(const std::vector<int32_t>& prompt, int sequence) {
    const auto number = static_cast<int>(samples_.size());
    samples_.emplace_back(number, tokenizer_, options_, prompt).sequence = sequence;
  }

  void decode(GenerateResult& result) {
    const Clock::time_point begin = Clock::now();
    for (int64_t round = 0; round < options_.max_tokens; ++round) {
      sample_all(result.timing);
      if (!step_all(round + 1 == options_.max_tokens)) break;
    }
    result.timing.decode_seconds = seconds_since(begin);
    for (Sample& sample : samples_) {
      finish_text(sample);
      if (sample.running()) sample.result.finish = Finish::Length;
      result.samples.push_back(std::move(sample.result));
    }
  }

  void sample_all(GenerateTiming& timing) {
    const int64_t valid = std::min(engine_.vocab(), tokenizer_.vocab());
    for (size_t i = 0; i < samples_.size(); ++i) {
      Sample& sample = samples_[i];
      if (!sample.running()) continue;
      const std::span logits(engine_.logits(sample.sequence), static_cast<size_t>(engine_.vocab()));
      const SampledToken token =
          sample_token(logits, valid, options_.sampler, sample.context,
                       static_cast<int64_t>(sample.result.ids.size()), static_cast<uint32_t>(i));
      ++timing.decoded_tokens;
      sample.context.push_back(token.id);
      sample.result.ids.push_back(token.id);
      sample.result.logprobs.push_back(token.logprob);
      if (std::count(options_.end_ids.begin(), options_.end_ids.end(), token.id) > 0) {
        sample.result.finish = Finish::Eos;
        continue;
      }
      emit(sample, sample.matcher.push(sample.decoder.push(token.id)));
      if (sample.matcher.stopped()) sample.result.finish = Finish::Stop;
    }
  }

  // Runs the new tokens through the model; false when no sample goes on.
  bool step_all(bool last_round) {
    if (last_round) return false;
    std::vector<int> ids;
    std::vector<int32_t> tokens;
    for (Sample& sample : samples_) {
      if (!sample.running()) continue;
      if (interrupted()) {
        sample.result.finish = Finish::Interrupted;
      } else if (engine_.length(sample.sequence) >= engine_.max_context()) {
        sample.result.finish = Finish::Context;
      } else {
        ids.push_back(sample.sequence);
        tokens.push_back(sample.result.ids.back());
      }
    }
    if (ids.empty()) return false;
    engine_.step(ids, tokens);
    return true;
  }

  void emit(Sample& sample, const std::string& text) {
    if (text.empty()) return;
    sample.result.text += text;
    if (on_text_) on_text_(sample.number, text);
  }

  void finish_text(Sample& sample) {
    if (sample.matcher.stopped()) return;
    emit(sample, sample.matcher.push(sample.decoder.finish()));
    if (sample.matcher.stopped()) {
      sample.result.finish = Finish::Stop;
    } else {
      emit(sample, sample.matcher.finish());
    }
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  GenerateOptions options_;
  const OnText& on_text_;
  Sequences sequences_;
  std::vector<Sample> samples_;
};

void validate(const GenerateOptions& options) {
  validate(options.sampler);
  if (options.max_tokens < 1) throw_user("tokens {} must be at least 1", options.max_tokens);
  if (options.samples < 1) throw_user("n {} must be at least 1", options.samples);
}

}  // namespace

const char* to_string(Finish finish) {
  switch (finish) {
    case Finish::Running:
      return "running";
    case Finish::Eos:
      return "eos";
    case Finish::Stop:
      return "stop";
    case Finish::Length:
      return "length";
    case Finish::Context:
      return "context";
    case Finish::Interrupted:
      return "interrupted";
  }
  return "?";
}

GenerateResult generate(Engine& engine, const Tokenizer& tokenizer,
                        const std::vector<int32_t>& prompt, const GenerateOptions& options,
                        const OnText& on_text) {
  validate(options);
  return Loop(engine, tokenizer, options, on_text).run(prompt);
}

GenerateResult generate(Engine& engine, PromptCache& cache, const Tokenizer& tokenizer,
                        const std::vector<int32_t>& prompt, const GenerateOptions& options,
                        const OnText& on_text) {
  validate(options);
  PIVOT_CHECK(options.samples == 1, "{} samples on a cache of one sequence", options.samples);
  return Loop(engine, tokenizer, options, on_text).run(prompt, cache);
}

}  // namespace pivot
