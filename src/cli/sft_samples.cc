#include "src/cli/sft_samples.h"

#include <algorithm>

#include "data/chat_show.h"
#include "data/mixture.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/cli/train_run.h"
#include "src/decode/generate.h"

namespace pivot {
namespace {

// A prompt is read before its answer begins: long ones would make samples cost as much as steps.
constexpr int64_t kShortPrompt = 1024;
constexpr size_t kShownPromptBytes = 2000;

std::string text_of(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  const std::vector<uint8_t> none(ids.size(), 0);
  std::string text;
  for (const ChatRun& run : chat_runs(tokenizer, ids, none)) text += run.text;
  return text;
}

/// The end of a text: the question stands there.
std::string shortened(const std::string& text) {
  if (text.size() <= kShownPromptBytes) return text;
  size_t begin = text.size() - kShownPromptBytes;
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  return "... " + text.substr(begin);
}

HeldOutPrompt make_prompt(const std::vector<int32_t>& tokens, TokenSpan answer,
                          const Tokenizer& tokenizer) {
  const std::span all(tokens);
  const auto begin = static_cast<size_t>(answer.begin), end = static_cast<size_t>(answer.end);
  return {.ids = {tokens.begin(), tokens.begin() + answer.begin},
          .text = shortened(text_of(tokenizer, all.first(begin))),
          .wanted = text_of(tokenizer, all.subspan(begin, end - begin)),
          .end = tokens[end - 1]};
}

}  // namespace

std::vector<HeldOutPrompt> held_out_prompts(const std::vector<std::string>& sources,
                                            const Tokenizer& tokenizer, int64_t context,
                                            int64_t answer_tokens, size_t count) {
  std::vector<HeldOutPrompt> prompts;
  const int64_t longest = std::min(kShortPrompt, context - answer_tokens);
  for (const std::string& source : sources) {
    for (const std::string& path : resolve_shards(parse_weighted_source(source).path)) {
      const Shard shard(path);
      if (!shard.masked()) continue;
      for (int64_t d = 0; d < shard.documents() && prompts.size() < count; ++d) {
        const std::vector<TokenSpan> answers = shard.learnt_in(d);
        if (answers.empty() || answers.back().begin < 1 || answers.back().begin > longest) continue;
        prompts.push_back(make_prompt(shard.document(d), answers.back(), tokenizer));
      }
      if (prompts.size() == count) return prompts;
    }
  }
  return prompts;
}

std::vector<TextSample> answer_prompts(const std::vector<HeldOutPrompt>& prompts,
                                       const Tokenizer& tokenizer, const TrainOptions& options,
                                       const Model& model, ThreadPool& pool) {
  std::vector<TextSample> samples;
  for (const HeldOutPrompt& prompt : prompts) {
    const auto length = static_cast<int64_t>(prompt.ids.size());
    Engine engine = sample_engine(model, options, length + options.sample.tokens, pool);
    GenerateOptions generation;
    generation.sampler.temperature = 0;
    generation.max_tokens = options.sample.tokens;
    if (tokenizer.eos() >= 0) generation.end_ids.push_back(tokenizer.eos());
    // An ordinary token would end every answer at its first one.
    if (tokenizer.token_bytes(prompt.end) == 0) generation.end_ids.push_back(prompt.end);
    const Generation answer = generate(engine, tokenizer, prompt.ids, generation).samples.front();
    samples.push_back({prompt.text, fmt::format("{}\n[{}; wanted: {}]", answer.text,
                                                to_string(answer.finish), prompt.wanted)});
  }
  return samples;
}

}  // namespace pivot
