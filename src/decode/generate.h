#pragma once
/// The generation loop: n samples from one prompt.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"
#include "src/decode/engine.h"
#include "src/decode/prompt_cache.h"
#include "src/decode/sampler.h"

namespace pivot {

struct GenerateOptions {
  SamplerOptions sampler;
  int64_t max_tokens = 128;
  int samples = 1;                    // sample i draws from the sampler's sequence i
  std::vector<std::string> stop;      // matched on the decoded text, across token borders
  std::vector<int32_t> end_ids = {};  // tokens that end a sample; empty: the tokenizer's eos
  ControlTokens control = ControlTokens::Skip;  // whether their text is part of the sample's
};

enum class Finish { Running, Eos, Stop, Length, Context, Interrupted };
/// "eos" | "stop" | "length" | "context" | "interrupted"
const char* to_string(Finish finish);

struct Generation {
  std::vector<int32_t> ids;     // as sampled, including a token of end_ids or a stop string's
  std::vector<float> logprobs;  // of the model's own distribution, one per id
  std::string text;             // without the stop string; always valid UTF-8
  Finish finish = Finish::Running;
};

struct GenerateTiming {
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;  // of the prompt: known from the turn before
  double prefill_seconds = 0;
  int64_t decoded_tokens = 0;  // over all samples
  double decode_seconds = 0;
};

struct GenerateResult {
  std::vector<Generation> samples;
  GenerateTiming timing;
};

/// Gets text as soon as it is certain.
using OnText = std::function<void(int sample, std::string_view text)>;

/// Throws UserError on options out of range, and as Engine::prefill does. Rows of the model's
/// vocabulary beyond the tokenizer's (padding) are never sampled. An interrupt (Ctrl-C) ends the
/// loop after the current token. The engine needs room for options.samples sequences; all of them
/// are released on return.
GenerateResult generate(Engine& engine, const Tokenizer& tokenizer,
                        const std::vector<int32_t>& prompt, const GenerateOptions& options,
                        const OnText& on_text = {});

/// The same for one sample, on the cache's engine: what the prompt shares with the text before it
/// is not run again, and the text so far stays in the cache.
GenerateResult generate(Engine& engine, PromptCache& cache, const Tokenizer& tokenizer,
                        const std::vector<int32_t>& prompt, const GenerateOptions& options,
                        const OnText& on_text = {});

}  // namespace pivot
