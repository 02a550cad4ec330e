// The parts that fast paths replace, against the slow ones.
#include <algorithm>

#include "data/bpe_train.h"
#include "data/hf/byte_trie.h"
#include "data/hf/characters.h"
#include "data/hf/matcher.h"
#include "data/hf/merges.h"
#include "data/hf/normalizer.h"
#include "data/hf/regex.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"

using namespace pivot;
using namespace pivot::hf;

namespace {

/// Characters that the patterns tell apart, many of them at the edges of their classes.
std::string random_text(uint64_t seed) {
  static const char* const kPool[] = {" ",
                                      " ",
                                      "  ",
                                      "\n",
                                      "\r\n",
                                      "\t",
                                      "\u00a0",
                                      "\u3000",
                                      "\u180e",
                                      "\u200b",
                                      "\u0085",
                                      "\u2028",
                                      "a",
                                      "b",
                                      "X",
                                      "s",
                                      "S",
                                      "t",
                                      "T",
                                      "re",
                                      "RE",
                                      "ve",
                                      "ll",
                                      "LL",
                                      "d",
                                      "m",
                                      "'",
                                      "'",
                                      "\u017f",
                                      "1",
                                      "23",
                                      "\u0663",
                                      "\u00bd",
                                      "\u216b",
                                      "\u00b2",
                                      "-",
                                      ".",
                                      "_",
                                      "$",
                                      "\u20ac",
                                      "\u00e9",
                                      "e\u0301",
                                      "\u0928\u092e",
                                      "\u4e2d",
                                      "\U0001f642",
                                      "\u200d",
                                      "\U00020000",
                                      "\U0001e030"};
  const Philox random(seed, Stream::Test);
  std::string text;
  const uint64_t length = 1 + random.below(40, 0);
  for (uint64_t i = 1; i <= length; ++i) text += kPool[random.below(std::size(kPool), i)];
  return text;
}

}  // namespace

TEST_CASE("hand-written matchers find what the regular expressions find") {
  for (const KnownPattern pattern :
       {KnownPattern::Gpt2, KnownPattern::Llama3, KnownPattern::Qwen2}) {
    REQUIRE(find_known_pattern(pattern_text(pattern)) == pattern);
    const Regex regex(std::string(pattern_text(pattern)), "test");
    for (uint64_t seed = 0; seed < 20000; ++seed) {
      const std::string text = random_text(seed);
      std::vector<Range> fast;
      split_known(pattern, text, 0, fast);
      std::vector<Part> parts;
      regex.split(text, 0, parts);
      std::vector<Range> slow;
      for (const Part& p : parts) {
        REQUIRE(p.match);
        slow.push_back(p.range);
      }
      if (fast != slow) {
        CAPTURE(pattern_text(pattern), text);
        REQUIRE(fast == slow);
      }
    }
  }
  CHECK_FALSE(find_known_pattern("\\s+").has_value());
}

TEST_CASE("every character has the class that the regular expression gives it") {
  const auto members = [](const char* pattern) {
    std::string text;
    for (uint32_t c = 0; c < 0x110000; ++c) {
      if (c < 0xD800 || c > 0xDFFF) append_char(text, c);
    }
    std::vector<Part> parts;
    Regex(pattern, "test").split(text, 0, parts);
    std::string found;
    for (const Part& p : parts) {
      if (p.match) found += text.substr(p.range.begin, p.range.size());
    }
    return found;
  };
  const auto chosen = [](auto&& in_class) {
    std::string found;
    for (uint32_t c = 0; c < 0x110000; ++c) {
      if ((c < 0xD800 || c > 0xDFFF) && in_class(c)) append_char(found, c);
    }
    return found;
  };
  const CharKinds& kinds = CharKinds::get();
  CHECK(members("\\p{L}") == chosen([&](uint32_t c) { return kinds.of(c) == CharKind::Letter; }));
  CHECK(members("\\p{N}") == chosen([&](uint32_t c) { return kinds.of(c) == CharKind::Number; }));
  CHECK(members("\\s") == chosen(is_space));
}

TEST_CASE("merging by heap and by search give the same tokens") {
  MergeTable table(400);
  const Philox random(3, Stream::Test);
  for (uint64_t i = 0; i < 400; ++i) {
    const auto a = static_cast<int32_t>(random.below(20 + i, 3 * i));
    const auto b = static_cast<int32_t>(random.below(20 + i, 3 * i + 1));
    table.set(a, b, {static_cast<uint32_t>(i), static_cast<int32_t>(20 + i)});
  }
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const Philox draws(seed, Stream::Test);
    std::vector<Symbol> symbols;
    const auto length = static_cast<uint32_t>(40 + draws.below(60, 1000));  // 64 is the border
    for (uint32_t i = 0; i < length; ++i) {
      symbols.push_back({static_cast<int32_t>(draws.below(20, i)), {i, i + 1}});
    }
    std::vector<Symbol> expected = symbols;
    for (;;) {
      size_t best = 0;
      MergeTable::Rule rule = {MergeTable::kNone, -1};
      for (size_t i = 0; i + 1 < expected.size(); ++i) {
        const MergeTable::Rule r = table.find(expected[i].id, expected[i + 1].id);
        if (r.rank < rule.rank) {
          rule = r;
          best = i;
        }
      }
      if (rule.rank == MergeTable::kNone) break;
      expected[best] = {rule.id, {expected[best].range.begin, expected[best + 1].range.end}};
      expected.erase(expected.begin() + static_cast<int64_t>(best) + 1);
    }
    merge_symbols(table, {}, symbols);
    REQUIRE(symbols.size() == expected.size());
    for (size_t i = 0; i < symbols.size(); ++i) {
      CHECK(symbols[i].id == expected[i].id);
      CHECK(symbols[i].range == expected[i].range);
    }
  }
}

TEST_CASE("Unicode normal forms keep origins") {
  const std::string given = "a\u00e9 e\u0301\u0323x \uac00\u11a8 \ufb01 \U0001e030";
  Text text(given, 0, true);
  normalize_unicode(text, NormalForm::Nfc);
  CHECK(text.bytes() == "a\u00e9 \u1eb9\u0301x \uac01 \ufb01 \U0001e030");
  CHECK(text.origin(0, 1) == Range{0, 1});
  CHECK(text.origin(4, 7) == Range{4, 9});  // e and two marks, in another order
  Text compatible(given, 0, true);
  normalize_unicode(compatible, NormalForm::Nfkd);
  // The last character decomposes since Unicode 15; the package does not know it yet.
  CHECK(compatible.bytes() == "ae\u0301 e\u0323\u0301x \u1100\u1161\u11a8 fi \U0001e030");
  Text plain("plain \u4e2d\u6587", 0, true);
  normalize_unicode(plain, NormalForm::Nfkc);
  CHECK(plain.bytes() == "plain \u4e2d\u6587");
  CHECK(plain.origin(6, 9) == Range{6, 9});
}

TEST_CASE("tries find all prefixes") {
  const ByteTrie trie({"a", "abc", "b", "", "abcd\xFF", "a"});
  std::vector<std::pair<uint32_t, int32_t>> found;
  trie.prefixes("abcd\xFF!", [&](uint32_t n, int32_t v) { found.emplace_back(n, v); });
  CHECK(found == std::vector<std::pair<uint32_t, int32_t>>{{1, 5}, {3, 1}, {5, 4}});
  CHECK(trie.begins_any('b'));
  CHECK_FALSE(trie.begins_any('c'));
}

TEST_CASE("GPT-2's alphabet is its own inverse") {
  for (int b = 0; b < 256; ++b) CHECK(char_to_byte(byte_to_char(static_cast<uint8_t>(b))) == b);
  CHECK(to_byte_level(" \n\xAD") == "\u0120\u010A\u0143");
  std::string bytes = "x";
  CHECK_FALSE(append_from_byte_level("ab c", bytes));
  CHECK(bytes == "x");
  CHECK(append_from_byte_level("\u0120a", bytes));
  CHECK(bytes == "x a");
}

TEST_CASE("expressions of Ruby's syntax mean the same") {
  const auto matches = [](const char* pattern, const std::string& text) {
    std::vector<Part> parts;
    Regex(pattern, "test").split(text, 0, parts);
    std::vector<std::string> found;
    for (const Part& p : parts) {
      if (p.match) found.push_back(text.substr(p.range.begin, p.range.size()));
    }
    return found;
  };
  using Strings = std::vector<std::string>;
  CHECK(matches("\\s", "a\u180e \u00a0") == Strings{" ", "\u00a0"});  // U+180E is no space
  CHECK(matches("\\h+", "xAf09 ") == Strings{"Af09"});                // hexadecimal digits
  CHECK(matches("^.", "ab\ncd") == Strings{"a", "c"});                // lines
  CHECK(matches("(?m:a.)", "a\n") == Strings{"a\n"});                 // the dot
  CHECK(matches("\\u0041+", "AAB") == Strings{"AA"});
  CHECK(matches("x*", "axxb") == Strings{"", "xx", ""});
  CHECK(matches("\\p{Lo}", "\U00031350") == Strings{"\U00031350"});  // of Unicode 15
  CHECK(matches("[\\w]+", "a\u00b2\u200d") == Strings{"a\u00b2"});
}

TEST_CASE("merges are learnt as Hugging Face's trainer learns them") {
  const WordCounts words = {{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}, {"aaaa", 4}};
  BpeTrainOptions options;
  options.vocab = 264;
  options.special = {"<s>"};
  const BpeVocabulary v = train_bpe(words, options);
  REQUIRE(v.tokens.size() == 264);
  CHECK(v.tokens[0] == "<s>");
  CHECK(v.tokens[1] == "!");
  // es and st come 9 times: the smaller ids first. aa comes 12 times (three in a word).
  CHECK(std::vector<std::string>(v.tokens.begin() + 257, v.tokens.end()) ==
        std::vector<std::string>{"aa", "es", "est", "lo", "low", "ew", "new"});
  const std::string json = bpe_tokenizer_json(v, KnownPattern::Llama3, {{"<s>", true}});
  CHECK(json ==
        bpe_tokenizer_json(train_bpe(words, options), KnownPattern::Llama3, {{"<s>", true}}));
}
