#pragma once
/// A sequence that outlives one answer: what a prompt has in common with the text before it is not
/// run through the model again.

#include <cstdint>
#include <functional>
#include <vector>

#include "src/decode/engine.h"

namespace pivot {

class PromptCache {
 public:
  /// `engine` must outlive this and have room for one more sequence.
  explicit PromptCache(Engine& engine) : engine_(engine) {}
  ~PromptCache() { clear(); }
  PromptCache(const PromptCache&) = delete;
  PromptCache& operator=(const PromptCache&) = delete;

  /// Afterwards the engine's logits(sequence()) are of the prompt's last token: those that
  /// Engine::prefill() of the whole prompt gives, up to the rounding of fp32 sums. Where prompts
  /// and steps have different attention, decoded tokens are therefore run again, as a prompt.
  /// A prompt with little in common is prefilled afresh, which is faster a token. Otherwise `stop`
  /// (may be empty) is asked between pieces: once it is true the rest is left out and false comes
  /// back. Throws as Engine::prefill(), and then holds nothing.
  bool run(const std::vector<int32_t>& prompt, const std::function<bool()>& stop);
  /// Of the last run(): tokens of the prompt that were there already.
  int64_t reused() const { return reused_; }

  /// The engine's id; -1 before the first run() and after clear().
  int sequence() const { return id_; }
  /// Says that Engine::step() gave these tokens to the sequence.
  void decoded(const std::vector<int32_t>& tokens);
  void clear();

 private:
  Engine& engine_;
  int id_ = -1;
  std::vector<int32_t> tokens_;  // in the engine's cache
  int64_t prompted_ = 0;         // of those, the first ones, which ran as a prompt
  int64_t reused_ = 0;
};

}  // namespace pivot
