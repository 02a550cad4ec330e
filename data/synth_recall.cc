/// MQAR (Arora et al., "Zoology", 2023) and associative recall among noise.
#include <cmath>

#include "data/synth_draw.h"
#include "src/base/check.h"

namespace pivot::synth {
namespace {

/// One document under construction.
class Writer {
 public:
  Writer(const Alphabet& alphabet, Draw& draw) : alphabet_(alphabet), draw_(draw) {}

  void put(int32_t token) { document_.tokens.push_back(token); }
  void noise(int64_t count) {
    const int64_t n = static_cast<int64_t>(alphabet_.noise.size());
    for (int64_t i = 0; i < count; ++i) {
      put(alphabet_.noise[static_cast<size_t>(n == 1 ? 0 : draw_.below(n))]);
    }
  }
  void answer(int32_t token) {
    const int64_t at = static_cast<int64_t>(document_.tokens.size());
    document_.answers.push_back({at, at + 1});
    put(token);
  }
  int64_t size() const { return static_cast<int64_t>(document_.tokens.size()); }
  SynthDocument take() { return std::move(document_); }

 private:
  const Alphabet& alphabet_;
  Draw& draw_;
  SynthDocument document_;
};

/// Distinct keys, each with a value drawn freely.
struct Pairs {
  Pairs(const SynthOptions& o, const Alphabet& a, Draw& draw) {
    const int64_t low = o.pairs_min > 0 ? o.pairs_min : o.pairs;
    const int64_t count = low == o.pairs ? low : draw.between(low, o.pairs);
    for (const int64_t k : draw.distinct(count, static_cast<int64_t>(a.keys.size()))) {
      keys.push_back(a.keys[static_cast<size_t>(k)]);
      const int64_t v = draw.below(static_cast<int64_t>(a.values.size()));
      values.push_back(a.values[static_cast<size_t>(v)]);
    }
  }
  int64_t count() const { return static_cast<int64_t>(keys.size()); }
  std::vector<int32_t> keys, values;
};

/// Pairs to ask for, one pass over all of them after the other, each in a new order.
class Questions {
 public:
  Questions(int64_t pairs, Draw& draw) : pairs_(pairs), draw_(draw) {}
  size_t next() {
    if (order_.empty()) order_ = draw_.distinct(pairs_, pairs_);
    const int64_t pair = order_.back();
    order_.pop_back();
    return static_cast<size_t>(pair);
  }

 private:
  int64_t pairs_;
  Draw& draw_;
  std::vector<int64_t> order_;
};

void check_pairs(const SynthOptions& o, const Alphabet& a) {
  if (o.pairs < 1) throw_user("task {}: --pairs must be at least 1", o.task);
  if (o.pairs > static_cast<int64_t>(a.keys.size())) {
    throw_user("task {}: {} pairs need as many distinct keys, there are {} (--vocab-keys)", o.task,
               o.pairs, a.keys.size());
  }
}

/// [k1 v1 ... kN vN] gap, then slots of two tokens, each a query (k v) or noise.
class Mqar : public SynthTask {
 public:
  Mqar(const SynthOptions& o, const Tokenizer& t) : o_(o), alphabet_(split_alphabet(o, t)) {
    check_pairs(o, alphabet_);
    const int64_t slots = o.length == 0 ? slots_for(wanted(o.pairs)) : slots_in(o.pairs);
    if (slots < 1 || slots_for(std::max<int64_t>(o.queries, 1)) > slots) {
      throw_user(
          "task mqar: {} pairs, a gap of {} and {} queries (noise {}) do not fit into {} "
          "tokens: raise --length",
          o.pairs, o.gap, std::max<int64_t>(o.queries, 1), o.noise, o.length);
    }
  }

  SynthDocument generate(uint64_t index) const override {
    Draw draw(o_.seed, index);
    const Pairs pairs(o_, alphabet_, draw);
    Writer out(alphabet_, draw);
    for (size_t i = 0; i < pairs.keys.size(); ++i) {
      out.put(pairs.keys[i]);
      out.put(pairs.values[i]);
    }
    out.noise(o_.gap);
    const int64_t slots =
        o_.length == 0 ? slots_for(wanted(pairs.count())) : slots_in(pairs.count());
    int64_t queries = o_.length == 0 ? wanted(pairs.count()) : queries_in(slots);
    Questions questions(pairs.count(), draw);
    for (int64_t left = slots; left > 0; --left) {
      // Each choice of `queries` slots is equally likely.
      if (queries < left && draw.below(left) >= queries) {
        out.noise(2);
        continue;
      }
      const size_t pair = questions.next();
      out.put(pairs.keys[pair]);
      out.answer(pairs.values[pair]);
      --queries;
    }
    if (o_.length > 0) out.noise(o_.length - out.size());
    return out.take();
  }

 private:
  int64_t wanted(int64_t pairs) const { return o_.queries > 0 ? o_.queries : pairs; }
  int64_t slots_in(int64_t pairs) const { return (o_.length - 2 * pairs - o_.gap) / 2; }
  int64_t slots_for(int64_t queries) const {
    return static_cast<int64_t>(std::ceil(static_cast<double>(queries) / (1 - o_.noise) - 1e-9));
  }
  int64_t queries_in(int64_t slots) const {
    if (o_.queries > 0) return o_.queries;
    return std::max<int64_t>(
        1, static_cast<int64_t>(std::floor(static_cast<double>(slots) * (1 - o_.noise) + 1e-9)));
  }

  SynthOptions o_;
  Alphabet alphabet_;
};

/// Pairs scattered among noise in random order, then a marker and the queries (k v) at the end.
class Recall : public SynthTask {
 public:
  Recall(const SynthOptions& o, const Tokenizer& t)
      : o_(o), alphabet_(split_alphabet(o, t)), marker_(marker_symbol(t)) {
    check_pairs(o, alphabet_);
    if (o.length > 0 && o.length < 2 * o.pairs + 1 + 2 * queries()) {
      throw_user("task recall: {} pairs and {} queries need {} tokens: raise --length above {}",
                 o.pairs, queries(), 2 * o.pairs + 1 + 2 * queries(), o.length);
    }
  }

  SynthDocument generate(uint64_t index) const override {
    Draw draw(o_.seed, index);
    const Pairs pairs(o_, alphabet_, draw);
    const int64_t noise =
        o_.length > 0
            ? o_.length - 2 * pairs.count() - 1 - 2 * queries()
            : std::llround(o_.noise / (1 - o_.noise) * static_cast<double>(2 * pairs.count()));
    Writer out(alphabet_, draw);
    int64_t pairs_left = pairs.count();
    for (int64_t units = pairs_left + noise; units > 0; --units) {
      if (draw.below(units) >= pairs_left) {
        out.noise(1);
        continue;
      }
      const size_t pair = static_cast<size_t>(--pairs_left);
      out.put(pairs.keys[pair]);
      out.put(pairs.values[pair]);
    }
    out.put(marker_);
    Questions questions(pairs.count(), draw);
    for (int64_t q = 0; q < queries(); ++q) {
      const size_t pair = questions.next();
      out.put(pairs.keys[pair]);
      out.answer(pairs.values[pair]);
    }
    return out.take();
  }

 private:
  int64_t queries() const { return std::max<int64_t>(1, o_.queries); }
  SynthOptions o_;
  Alphabet alphabet_;
  int32_t marker_;
};

}  // namespace

std::unique_ptr<SynthTask> make_mqar(const SynthOptions& o, const Tokenizer& t) {
  return std::make_unique<Mqar>(o, t);
}

std::unique_ptr<SynthTask> make_recall(const SynthOptions& o, const Tokenizer& t) {
  return std::make_unique<Recall>(o, t);
}

}  // namespace pivot::synth
