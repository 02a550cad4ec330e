#include "data/bpe_train.h"

#include <algorithm>
#include <queue>

#include <nlohmann/json.hpp>

#include "data/hf/characters.h"
#include "src/base/check.h"

namespace pivot {
namespace {

using Pair = std::pair<int32_t, int32_t>;

struct HashPair {
  size_t operator()(const Pair& p) const {
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(p.first)) << 32 |
                         static_cast<uint32_t>(p.second);
    return (key * 0x9E3779B97F4A7C15ULL) >> 20;
  }
};

/// Words that hold a pair; each once.
using Places = std::vector<uint32_t>;

/// A pair that may be merged next, with the words where it was seen since the last such entry.
struct Entry {
  int64_t count;
  Pair pair;
  Places places;
  friend bool operator<(const Entry& a, const Entry& b) {
    return a.count != b.count ? a.count < b.count : a.pair > b.pair;
  }
};

class Trainer {
 public:
  Trainer(const WordCounts& words, const BpeTrainOptions& options) : options_(options) {
    for (const std::string& text : options.special) add_token(text);
    // Ids in the order of the characters that stand for the bytes.
    std::vector<int> bytes(256);
    for (int b = 0; b < 256; ++b) bytes[static_cast<size_t>(b)] = b;
    std::sort(bytes.begin(), bytes.end(), [](int a, int b) {
      return hf::byte_to_char(static_cast<uint8_t>(a)) < hf::byte_to_char(static_cast<uint8_t>(b));
    });
    std::vector<int32_t> byte_ids(256);
    for (const int b : bytes) {
      std::string text;
      hf::append_char(text, hf::byte_to_char(static_cast<uint8_t>(b)));
      byte_ids[static_cast<size_t>(b)] = add_token(text);
    }
    // Sorted: the order of a hash table is nobody's business.
    std::vector<const WordCounts::value_type*> sorted;
    sorted.reserve(words.size());
    for (const auto& word : words) sorted.push_back(&word);
    std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->first < b->first; });
    for (const auto* word : sorted) {
      std::vector<int32_t>& ids = words_.emplace_back();
      for (const char c : word->first) ids.push_back(byte_ids[static_cast<uint8_t>(c)]);
      counts_.push_back(word->second);
    }
  }

  BpeVocabulary run() {
    count_pairs();
    while (static_cast<int64_t>(made_.tokens.size()) < options_.vocab && !queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end());
      Entry top = std::move(queue_.back());
      queue_.pop_back();
      const int64_t now = pair_counts_[top.pair];
      if (top.count != now) {
        top.count = now;
        push(std::move(top));
        continue;
      }
      if (top.count < std::max<int64_t>(1, options_.min_count)) break;
      merge(top);
      if (options_.progress && made_.merges.size() % 64 == 0) {
        options_.progress(static_cast<int64_t>(made_.tokens.size()));
      }
    }
    return std::move(made_);
  }

 private:
  int32_t add_token(const std::string& text) {
    const auto [it, fresh] = ids_.emplace(text, static_cast<int32_t>(made_.tokens.size()));
    if (fresh) made_.tokens.push_back(text);
    return it->second;
  }
  void push(Entry entry) {
    queue_.push_back(std::move(entry));
    std::push_heap(queue_.begin(), queue_.end());
  }
  void seen(const Pair& pair, uint32_t word) {
    Places& places = new_places_[pair];
    if (places.empty() || places.back() != word) places.push_back(word);
  }
  void queue_new_places() {
    for (auto& [pair, places] : new_places_) {
      const int64_t count = pair_counts_[pair];
      if (count > 0) push({count, pair, std::move(places)});
    }
    new_places_.clear();
  }

  void count_pairs() {
    for (uint32_t w = 0; w < words_.size(); ++w) {
      for (size_t i = 0; i + 1 < words_[w].size(); ++i) {
        const Pair pair = {words_[w][i], words_[w][i + 1]};
        pair_counts_[pair] += counts_[w];
        seen(pair, w);
      }
    }
    queue_new_places();
  }

  void merge(const Entry& top) {
    const auto text = [&](int32_t id) { return made_.tokens[static_cast<size_t>(id)]; };
    // Two pairs may spell the same token: it is one.
    const int32_t id = add_token(text(top.pair.first) + text(top.pair.second));
    made_.merges.push_back(top.pair);
    for (const uint32_t w : top.places) merge_in(w, top.pair, id);
    queue_new_places();
  }

  /// Replaces the pair in a word from left to right and keeps the counts of its neighbours. The
  /// count of the pair itself is left: it is never asked for again.
  void merge_in(uint32_t w, const Pair& pair, int32_t id) {
    std::vector<int32_t>& ids = words_[w];
    const int64_t count = counts_[w];
    size_t out = 0;
    for (size_t i = 0; i < ids.size(); ++out) {
      if (ids[i] != pair.first || i + 1 == ids.size() || ids[i + 1] != pair.second) {
        ids[out] = ids[i++];
        continue;
      }
      if (out > 0) {
        pair_counts_[{ids[out - 1], pair.first}] -= count;
        pair_counts_[{ids[out - 1], id}] += count;
        seen({ids[out - 1], id}, w);
      }
      i += 2;
      if (i < ids.size()) {
        pair_counts_[{pair.second, ids[i]}] -= count;
        pair_counts_[{id, ids[i]}] += count;
        seen({id, ids[i]}, w);
      }
      ids[out] = id;
    }
    ids.resize(out);
  }

  const BpeTrainOptions& options_;
  BpeVocabulary made_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<std::vector<int32_t>> words_;
  std::vector<int64_t> counts_;  // of each word
  std::unordered_map<Pair, int64_t, HashPair> pair_counts_;
  std::unordered_map<Pair, Places, HashPair> new_places_;
  std::vector<Entry> queue_;  // a heap
};

}  // namespace

BpeVocabulary train_bpe(const WordCounts& words, const BpeTrainOptions& options) {
  return Trainer(words, options).run();
}

namespace {

using Json = nlohmann::ordered_json;

Json symbol_json(const AddedSymbol& symbol, int64_t id) {
  return {
      {"id", id},        {"content", symbol.text}, {"single_word", false},     {"lstrip", false},
      {"rstrip", false}, {"normalized", false},    {"special", symbol.special}};
}

/// "vocab" and "merges" by hand: a tree of them would be slow and its print one number a line.
std::string lists_text(const BpeVocabulary& v) {
  const auto quoted = [&](int32_t id) { return Json(v.tokens[static_cast<size_t>(id)]).dump(); };
  std::string text = "\"vocab\": {\n";
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    text +=
        fmt::format("{}      {}: {}", id > 0 ? ",\n" : "", quoted(static_cast<int32_t>(id)), id);
  }
  text += "\n    },\n    \"merges\": [\n";
  for (size_t i = 0; i < v.merges.size(); ++i) {
    text += fmt::format("{}      [{}, {}]", i > 0 ? ",\n" : "", quoted(v.merges[i].first),
                        quoted(v.merges[i].second));
  }
  return text + "\n    ]";
}

}  // namespace

std::string bpe_tokenizer_json(const BpeVocabulary& vocabulary, hf::KnownPattern pattern,
                               const std::vector<AddedSymbol>& added) {
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", false},
                           {"use_regex", false}};
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", hf::pattern_text(pattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  Json symbols = Json::array();
  for (const AddedSymbol& symbol : added) {
    const auto at = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), symbol.text);
    PIVOT_CHECK(at != vocabulary.tokens.end(), "'{}' is not in the vocabulary", symbol.text);
    symbols.push_back(symbol_json(symbol, at - vocabulary.tokens.begin()));
  }
  const Json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", symbols},
                     {"normalizer", nullptr},
                     {"pre_tokenizer",
                      {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}}},
                     {"post_processor", byte_level},
                     {"decoder", byte_level},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false}}}};
  std::string text = file.dump(2);
  // The lists belong to the model, the last object: behind its last field.
  const size_t end = text.rfind("\n  }\n}");
  return text.substr(0, end) + ",\n    " + lists_text(vocabulary) + text.substr(end) + "\n";
}

}  // namespace pivot
