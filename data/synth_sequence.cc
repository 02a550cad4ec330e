/// Induction (a random sequence that repeats) and majority (the control that needs every token).
#include "data/synth_draw.h"
#include "src/base/check.h"

namespace pivot::synth {
namespace {

/// `pairs` distinct symbols in random order, repeated to the end. From the second round on every
/// token follows from where the one before it stood last.
class Induction : public SynthTask {
 public:
  Induction(const SynthOptions& o, const Tokenizer& t) : o_(o), symbols_(task_symbols(t)) {
    const int64_t limit = o.vocab_keys > 0 ? o.vocab_keys : static_cast<int64_t>(symbols_.size());
    if (limit > static_cast<int64_t>(symbols_.size())) {
      throw_user("task induction: {} symbols asked for, the tokenizer has {}", limit,
                 symbols_.size());
    }
    symbols_.resize(static_cast<size_t>(limit));
    if (o.pairs < 2 || o.pairs > limit) {
      throw_user("task induction: a period (--pairs) of {} must be 2 to {} symbols", o.pairs,
                 limit);
    }
    if (o.length > 0 && o.length < o.pairs + 2) {
      throw_user("task induction: period {} does not repeat within {} tokens", o.pairs, o.length);
    }
  }

  SynthDocument generate(uint64_t index) const override {
    Draw draw(o_.seed, index);
    const int64_t low = std::max<int64_t>(2, o_.pairs_min > 0 ? o_.pairs_min : o_.pairs);
    const int64_t period = draw.between(low, o_.pairs);
    const std::vector<int64_t> order = draw.distinct(period, static_cast<int64_t>(symbols_.size()));
    const int64_t length = o_.length > 0 ? o_.length : 2 * period;
    SynthDocument document;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t symbol = order[static_cast<size_t>(i % period)];
      document.tokens.push_back(symbols_[static_cast<size_t>(symbol)]);
    }
    document.answers.push_back({period + 1, length});
    return document;
  }

 private:
  SynthOptions o_;
  std::vector<int32_t> symbols_;
};

/// Rounds of random symbols, each closed by the marker and the symbol that is the most frequent so
/// far (answers not counted). One symbol is drawn with extra probability; ties are broken by
/// drawing on.
class Majority : public SynthTask {
 public:
  Majority(const SynthOptions& o, const Tokenizer& t)
      : o_(o), alphabet_(split_alphabet(with_classes(o), t)), marker_(marker_symbol(t)) {
    if (round_tokens() < 1) {
      throw_user("task majority: {} questions do not fit into {} tokens", questions(), o.length);
    }
  }

  SynthDocument generate(uint64_t index) const override {
    Draw draw(o_.seed, index);
    SynthDocument document = attempt(draw);
    while (document.answers.empty()) document = attempt(draw);  // undecided to the end
    return document;
  }

 private:
  SynthDocument attempt(Draw& draw) const {
    const int64_t classes = static_cast<int64_t>(alphabet_.values.size());
    const int64_t favourite = draw.below(classes);
    std::vector<int64_t> counts(static_cast<size_t>(classes), 0);
    SynthDocument document;
    const auto symbol = [&] {
      // A third of the draws are the favourite.
      const int64_t c = draw.below(3) == 0 ? favourite : draw.below(classes);
      ++counts[static_cast<size_t>(c)];
      document.tokens.push_back(alphabet_.values[static_cast<size_t>(c)]);
    };
    for (int64_t q = 0; q < questions(); ++q) {
      for (int64_t i = 0; i < round_tokens(); ++i) symbol();
      const int64_t last = o_.length > 0 ? o_.length - 2 : int64_t{1} << 40;
      while (!decided(counts) && static_cast<int64_t>(document.tokens.size()) < last) symbol();
      const int64_t at = static_cast<int64_t>(document.tokens.size()) + 1;
      if (!decided(counts) || (o_.length > 0 && at + 1 > o_.length)) break;
      const auto best = std::max_element(counts.begin(), counts.end()) - counts.begin();
      document.tokens.push_back(marker_);
      document.tokens.push_back(alphabet_.values[static_cast<size_t>(best)]);
      document.answers.push_back({at, at + 1});
    }
    return document;
  }

  static SynthOptions with_classes(SynthOptions o) {
    o.vocab_keys = 1;  // unused
    if (o.vocab_values == 0) o.vocab_values = 8;
    return o;
  }
  static bool decided(const std::vector<int64_t>& counts) {
    const int64_t most = *std::max_element(counts.begin(), counts.end());
    return std::count(counts.begin(), counts.end(), most) == 1;
  }
  int64_t questions() const { return std::max<int64_t>(1, o_.queries); }
  /// A few tokens of each round stay free for breaking ties.
  int64_t round_tokens() const {
    const int64_t length = o_.length > 0 ? o_.length : 64 * questions();
    return length / questions() - 2 - std::min<int64_t>(4, length / questions() / 8);
  }

  SynthOptions o_;
  Alphabet alphabet_;
  int32_t marker_;
};

}  // namespace

std::unique_ptr<SynthTask> make_induction(const SynthOptions& o, const Tokenizer& t) {
  return std::make_unique<Induction>(o, t);
}

std::unique_ptr<SynthTask> make_majority(const SynthOptions& o, const Tokenizer& t) {
  return std::make_unique<Majority>(o, t);
}

}  // namespace pivot::synth
