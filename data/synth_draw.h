#pragma once
/// The random choices of one generated document, and the tasks that make_synth_task() knows.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "data/synth.h"
#include "src/base/philox.h"

namespace pivot::synth {

/// Draw n of document `index` is Philox(seed, Synth) at index * 2^32 + n.
class Draw {
 public:
  Draw(uint64_t seed, uint64_t index) : random_(seed, Stream::Synth), next_(index << 32) {}

  /// Uniform in [0, n).
  int64_t below(int64_t n) {
    return static_cast<int64_t>(random_.below(static_cast<uint64_t>(n), next_++));
  }
  /// Uniform in [low, high].
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  /// The first `count` of a random permutation of [0, n).
  std::vector<int64_t> distinct(int64_t count, int64_t n) {
    std::vector<int64_t> all(static_cast<size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t i = 0; i < count; ++i) {
      std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(between(i, n - 1))]);
    }
    all.resize(static_cast<size_t>(count));
    return all;
  }

 private:
  Philox random_;
  uint64_t next_;
};

/// Symbols split into the three uses they have in a task.
struct Alphabet {
  std::vector<int32_t> keys, values, noise;
};
/// The first symbols are keys, then values, then noise; the last symbol of all is kept as a marker.
/// Throws UserError when there are too few.
Alphabet split_alphabet(const SynthOptions& options, const Tokenizer& tokenizer);
int32_t marker_symbol(const Tokenizer& tokenizer);

std::unique_ptr<SynthTask> make_mqar(const SynthOptions& o, const Tokenizer& t);
std::unique_ptr<SynthTask> make_recall(const SynthOptions& o, const Tokenizer& t);
std::unique_ptr<SynthTask> make_induction(const SynthOptions& o, const Tokenizer& t);
std::unique_ptr<SynthTask> make_majority(const SynthOptions& o, const Tokenizer& t);
std::unique_ptr<SynthTask> make_passkey(const SynthOptions& o, const Tokenizer& t);
std::unique_ptr<SynthTask> make_json(const SynthOptions& o, const Tokenizer& t);

}  // namespace pivot::synth
