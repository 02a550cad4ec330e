/// Passkey (Mohtashami and Jaggi, 2023) and JSON key-value retrieval (Liu et al., "Lost in the
/// middle", 2023), as text through the tokenizer.
#include <string>
#include <string_view>

#include "data/synth_draw.h"
#include "src/base/check.h"

namespace pivot::synth {
namespace {

/// Text in parts, each encoded for itself: what comes before an answer is encoded as a prompt is.
class TextWriter {
 public:
  explicit TextWriter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  void put(std::string_view text) {
    const std::vector<int32_t> ids = tokenizer_.encode(text);
    document_.tokens.insert(document_.tokens.end(), ids.begin(), ids.end());
  }
  void answer(std::string_view text) {
    const int64_t begin = static_cast<int64_t>(document_.tokens.size());
    put(text);
    document_.answers.push_back({begin, static_cast<int64_t>(document_.tokens.size())});
  }
  int64_t size() const { return static_cast<int64_t>(document_.tokens.size()); }
  SynthDocument take() { return std::move(document_); }

 private:
  const Tokenizer& tokenizer_;
  SynthDocument document_;
};

constexpr std::string_view kFiller[] = {"The grass is green. ", "The sky is blue. ",
                                        "The sun is yellow. ", "Here we go. ",
                                        "There and back again. "};

/// Filler sentences with one sentence that tells a number, which is asked for at the end.
class Passkey : public SynthTask {
 public:
  Passkey(const SynthOptions& o, const Tokenizer& t) : o_(o), tokenizer_(t) {
    if (o.length == 0) throw_user("task passkey: --length says how long the haystack is");
    const std::string number(static_cast<size_t>(o.chars), '8');
    const int64_t cycle = static_cast<int64_t>(std::size(kFiller));
    question_ = static_cast<int64_t>(compose(number, 0, 0).tokens.size());
    cycle_ = static_cast<int64_t>(compose(number, cycle, 0).tokens.size()) - question_;
    if (question_ > o.length) {
      throw_user("task passkey: the question alone takes {} tokens: raise --length above {}",
                 question_, o.length);
    }
  }

  SynthDocument generate(uint64_t index) const override {
    Draw draw(o_.seed, index);
    std::string number;
    for (int64_t i = 0; i < o_.chars; ++i) {
      number.push_back(static_cast<char>('0' + (i == 0 ? draw.between(1, 9) : draw.below(10))));
    }
    const int64_t depth = draw.below(1 << 20);
    const auto with = [&](int64_t sentences) {
      return compose(number, sentences, depth * (sentences + 1) >> 20);
    };
    int64_t sentences = std::max<int64_t>(0, o_.length - question_) *
                        static_cast<int64_t>(std::size(kFiller)) / std::max<int64_t>(1, cycle_);
    SynthDocument document = with(sentences);
    while (sentences > 0 && static_cast<int64_t>(document.tokens.size()) > o_.length) {
      document = with(--sentences);
    }
    // The estimate may be a sentence or two short.
    for (;;) {
      SynthDocument longer = with(sentences + 1);
      if (static_cast<int64_t>(longer.tokens.size()) > o_.length) return document;
      document = std::move(longer);
      ++sentences;
    }
  }

 private:
  SynthDocument compose(const std::string& number, int64_t sentences, int64_t before) const {
    std::string prompt = "There is a pass key in the text. Find it. ";
    for (int64_t i = 0; i <= sentences; ++i) {
      if (i == before) prompt += fmt::format("The pass key is {}. Remember it. ", number);
      if (i < sentences) prompt += kFiller[static_cast<size_t>(i) % std::size(kFiller)];
    }
    prompt += "What is the pass key? The pass key is ";
    TextWriter out(tokenizer_);
    out.put(prompt);
    out.answer(number);
    return out.take();
  }

  SynthOptions o_;
  const Tokenizer& tokenizer_;
  int64_t question_ = 0;  // tokens without any filler
  int64_t cycle_ = 0;     // tokens of all filler sentences once
};

/// {"3fa0": "91bc", ...} with random hexadecimal keys and values, then lines that ask for some.
class JsonPairs : public SynthTask {
 public:
  JsonPairs(const SynthOptions& o, const Tokenizer& t) : o_(o), tokenizer_(t) {
    if (o.pairs == 0 && o.length == 0) throw_user("task json: --pairs or --length must be given");
    const int64_t pairs = std::max<int64_t>(1, o.pairs);
    if (o.chars < 15 && pairs > (int64_t{1} << (4 * o.chars)) / 2) {
      throw_user("task json: {} pairs need longer keys than {} characters", pairs, o.chars);
    }
  }

  SynthDocument generate(uint64_t index) const override {
    Draw draw(o_.seed, index);
    if (o_.pairs > 0) {
      const int64_t low = o_.pairs_min > 0 ? o_.pairs_min : o_.pairs;
      SynthDocument document = compose(index, draw.between(low, o_.pairs));
      if (o_.length > 0 && static_cast<int64_t>(document.tokens.size()) > o_.length) {
        throw_user(
            "task json: a document of {} pairs takes {} tokens: raise --length above {} or "
            "lower --pairs (0 takes as many as fit)",
            o_.pairs, document.tokens.size(), o_.length);
      }
      return document;
    }
    // As many pairs as fit: estimate from the size of few, then adjust.
    const int64_t base = static_cast<int64_t>(compose(index, 1).tokens.size());
    const int64_t nine = static_cast<int64_t>(compose(index, 9).tokens.size());
    int64_t pairs =
        std::max<int64_t>(1, 1 + (o_.length - base) * 8 / std::max<int64_t>(1, nine - base));
    SynthDocument document = compose(index, pairs);
    while (pairs > 1 && static_cast<int64_t>(document.tokens.size()) > o_.length) {
      document = compose(index, --pairs);
    }
    if (static_cast<int64_t>(document.tokens.size()) > o_.length) {
      throw_user("task json: {} tokens are too few for one pair and its question", o_.length);
    }
    return document;
  }

 private:
  std::string hex(Draw& draw) const {
    std::string text;
    for (int64_t i = 0; i < o_.chars; ++i) {
      text.push_back("0123456789abcdef"[static_cast<size_t>(draw.below(16))]);
    }
    return text;
  }

  SynthDocument compose(uint64_t index, int64_t pairs) const {
    Draw draw(o_.seed ^ 0x9E3779B97F4A7C15U, index);  // apart from the draw of the number of pairs
    std::vector<std::string> keys, values;
    while (static_cast<int64_t>(keys.size()) < pairs) {
      std::string key = hex(draw);
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
      keys.push_back(std::move(key));
      values.push_back(hex(draw));
    }
    std::string prompt(1, '{');
    for (size_t i = 0; i < keys.size(); ++i) {
      prompt += fmt::format("{}\"{}\": \"{}\"", i == 0 ? "" : ", ", keys[i], values[i]);
    }
    prompt.push_back('}');
    TextWriter out(tokenizer_);
    const int64_t questions = std::min(pairs, std::max<int64_t>(1, o_.queries));
    for (const int64_t q : draw.distinct(questions, pairs)) {
      const size_t pair = static_cast<size_t>(q);
      out.put(prompt + fmt::format("\n\"{}\": \"", keys[pair]));
      out.answer(values[pair]);
      prompt.assign(1, '"');  // closes the answer
    }
    out.put(prompt);
    return out.take();
  }

  SynthOptions o_;
  const Tokenizer& tokenizer_;
};

}  // namespace

std::unique_ptr<SynthTask> make_passkey(const SynthOptions& o, const Tokenizer& t) {
  return std::make_unique<Passkey>(o, t);
}

std::unique_ptr<SynthTask> make_json(const SynthOptions& o, const Tokenizer& t) {
  return std::make_unique<JsonPairs>(o, t);
}

}  // namespace pivot::synth
