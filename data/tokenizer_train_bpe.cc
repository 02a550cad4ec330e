#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>

#include "data/bpe_train.h"
#include "data/hf/tokenizer.h"
#include "data/tokenizer.h"
#include "data/tokenizer_train.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/base/parallel.h"
#include "src/base/units.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBytes = 256;
// Documents are read by one thread and counted by all, this much text at a time.
constexpr int64_t kBatchBytes = 16 << 20;

hf::KnownPattern pattern_of(const std::string& name) {
  if (name == "llama3") return hf::KnownPattern::Llama3;
  if (name == "qwen2") return hf::KnownPattern::Qwen2;
  if (name == "gpt2") return hf::KnownPattern::Gpt2;
  throw_user("--pattern {}: must be llama3, qwen2 or gpt2", name);
}

std::vector<AddedSymbol> symbols_of(const TokenizerTrainOptions& o) {
  std::vector<AddedSymbol> symbols;
  for (const std::string& text : o.special) symbols.push_back({text, true});
  for (int64_t i = 0; i < o.reserved; ++i) symbols.push_back({reserved_symbol_name(i), false});
  std::set<std::string> seen;
  for (const AddedSymbol& symbol : symbols) {
    if (symbol.text.size() < 2) {
      throw_user("--special '{}': a special token of two bytes or more is needed", symbol.text);
    }
    if (!seen.insert(symbol.text).second) throw_user("--special {}: given twice", symbol.text);
  }
  return symbols;
}

void check_options(const TokenizerTrainOptions& o, size_t symbols) {
  if (o.out.empty()) throw_user("--out PATH says where to write the tokenizer");
  const int64_t fixed = kBytes + static_cast<int64_t>(symbols);
  if (o.vocab <= fixed || o.vocab > (1 << 20)) {
    throw_user("--vocab {}: must be above {} (256 bytes, {} special and reserved) and at most {}",
               o.vocab, fixed, symbols, 1 << 20);
  }
  if (o.sample_bytes > 0) throw_user("--sample-bytes: bpe learns from all of the text");
}

/// Words of the documents; the sums do not depend on which thread counts what.
class WordCounter {
 public:
  WordCounter(hf::KnownPattern pattern, int threads)
      : pattern_(pattern), pool_(threads), counts_(static_cast<size_t>(pool_.size())) {}

  void add(std::string text) {
    bytes_ += static_cast<int64_t>(text.size());
    batch_.push_back(std::move(text));
    if (bytes_ >= kBatchBytes) count();
  }
  WordCounts take() {
    count();
    for (size_t i = 1; i < counts_.size(); ++i) {
      for (const auto& [word, n] : counts_[i]) counts_[0][word] += n;
      counts_[i].clear();
    }
    return std::move(counts_[0]);
  }

 private:
  void count() {
    pool_.for_each(static_cast<int64_t>(batch_.size()), [&](int64_t i, int worker) {
      const std::string_view text = batch_[static_cast<size_t>(i)];
      std::vector<hf::Range> pieces;
      hf::split_known(pattern_, text, 0, pieces);
      WordCounts& counts = counts_[static_cast<size_t>(worker)];
      for (const hf::Range& r : pieces) {
        const std::string_view word = text.substr(r.begin, r.size());
        const auto it = counts.find(word);
        if (it != counts.end()) {
          ++it->second;
        } else {
          counts.emplace(word, 1);
        }
      }
    });
    batch_.clear();
    bytes_ = 0;
  }

  hf::KnownPattern pattern_;
  ThreadPool pool_;
  std::vector<WordCounts> counts_;  // of each worker
  std::vector<std::string> batch_;
  int64_t bytes_ = 0;
};

void stop_if_interrupted() {
  if (interrupted()) throw_error("interrupted: no tokenizer was written");
}

WordCounts count_words(const TokenizerTrainOptions& options, DocumentReader& reader) {
  WordCounter counter(pattern_of(options.pattern), options.threads);
  Document document;
  int64_t documents = 0;
  while (reader.next(document)) {
    stop_if_interrupted();
    counter.add(std::move(document.text));
    if (++documents % 256 == 0) {
      log::status_line(fmt::format("counting words {:.0f} %", 100 * reader.progress()));
    }
  }
  WordCounts words = counter.take();
  log::status_line("");
  return words;
}

std::string output_path(const std::string& out) {
  if (fs::path(out).extension() == ".json") return out;
  fs::create_directories(out);
  return fs::path(out) / "tokenizer.json";
}

}  // namespace

TokenizerTrainResult train_bpe_tokenizer(const TokenizerTrainOptions& options) {
  const std::vector<AddedSymbol> symbols = symbols_of(options);
  check_options(options, symbols.size());
  const auto start = std::chrono::steady_clock::now();
  DocumentReader reader(options.documents);
  const WordCounts words = count_words(options, reader);
  if (words.empty()) throw_user("the input holds no text to train a tokenizer on");
  TokenizerTrainResult result;
  result.documents = reader.counts().documents;
  result.text_bytes = result.sample_bytes = reader.counts().bytes;
  result.sample_lines = static_cast<int64_t>(words.size());
  log::info("training a byte-level BPE tokenizer of {} tokens on {} different words of {}",
            options.vocab, words.size(), format_bytes(static_cast<double>(result.text_bytes)));
  BpeTrainOptions train;
  train.vocab = options.vocab;
  for (const AddedSymbol& symbol : symbols) train.special.push_back(symbol.text);
  train.progress = [&](int64_t tokens) {
    stop_if_interrupted();
    log::status_line(fmt::format("merging: {} of {} tokens", tokens, options.vocab));
  };
  const BpeVocabulary vocabulary = train_bpe(words, train);
  log::status_line("");
  result.vocab = static_cast<int64_t>(vocabulary.tokens.size());
  if (result.vocab < options.vocab) {
    throw_user("the text is enough for {} tokens of {}: give more text or a smaller --vocab",
               result.vocab, options.vocab);
  }
  std::string json = bpe_tokenizer_json(vocabulary, pattern_of(options.pattern), symbols);
  result.hash = hf::make_huggingface(json, "", options.out)->hash();
  write_file_atomically(output_path(options.out), json);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace pivot
