#include "src/decode/prompt_cache.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot {
namespace {

// Tokens between two looks at `stop`: some tenths of a second for a model that a CPU can serve.
constexpr int64_t kPiece = 64;
// Engine::extend() takes as long for a token as Engine::prefill() for this many (135M parameters on
// 2 cores: 220 and 600 tokens/s; November 2026).
constexpr int64_t kExtendCost = 3;

}  // namespace

bool PromptCache::run(const std::vector<int32_t>& prompt, const std::function<bool()>& stop) {
  const auto count = static_cast<int64_t>(prompt.size());
  const auto held = static_cast<int64_t>(tokens_.size());
  const int64_t usable = engine_.same_attention() ? held : prompted_;
  const auto limit = std::clamp<int64_t>(count - 1, 0, usable);  // the last token gives the logits
  reused_ = std::mismatch(tokens_.begin(), tokens_.begin() + limit, prompt.begin()).first -
            tokens_.begin();
  if (reused_ == 0 || kExtendCost * (count - reused_) > count) {
    clear();  // first: there may be no room for a second sequence
    id_ = engine_.prefill(prompt);
    tokens_ = prompt;
    prompted_ = count;
    return true;
  }
  engine_.truncate(id_, reused_);
  tokens_.resize(static_cast<size_t>(reused_));
  prompted_ = std::min(prompted_, reused_);
  for (int64_t at = reused_; at < count; at += kPiece) {
    if (stop && stop()) return false;
    const auto end = std::min(count, at + kPiece);
    const std::vector<int32_t> piece(prompt.begin() + at, prompt.begin() + end);
    engine_.extend(id_, piece);
    tokens_.insert(tokens_.end(), piece.begin(), piece.end());
  }
  prompted_ = count;
  return true;
}

void PromptCache::decoded(const std::vector<int32_t>& tokens) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  PIVOT_CHECK(engine_.length(id_) == static_cast<int64_t>(tokens_.size()),
              "{} tokens in the engine, {} known", engine_.length(id_), tokens_.size());
}

void PromptCache::clear() {
  if (id_ >= 0) engine_.release(id_);
  id_ = -1;
  tokens_.clear();
  prompted_ = reused_ = 0;
}

}  // namespace pivot
