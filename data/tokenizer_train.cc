#include "data/tokenizer_train.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <sentencepiece_trainer.h>

#include "data/sentencepiece.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/base/philox.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr int64_t kFixedPieces = 3 + 256;  // <unk> <s> </s> and the bytes
// 6.5 MB of dictionary text, 4096 unigram pieces: 2 MB (512 bytes a piece) give 0.4 % more tokens
// than all of it, in a third of the time.
constexpr int64_t kSampleBytesPerPiece = 512;
constexpr size_t kMaxSentence = 2048;  // bytes; the library drops sentences above 4192

struct Sentence {
  uint32_t key;  // sampling order
  std::string text;
};

/// Keeps the sentences with the smallest keys, as many as fit: a uniform sample in one pass that
/// does not depend on how much text there is.
class SentenceSample {
 public:
  SentenceSample(int64_t max_bytes, uint64_t seed)
      : max_bytes_(max_bytes), random_(seed, Stream::Sample) {}

  void add_document(std::string_view text) {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      add_line(text.substr(0, end));
      text.remove_prefix(std::min(text.size(), end + 1));
    }
  }

  std::vector<std::string> take() {
    if (bytes_ > max_bytes_) shrink();
    std::vector<std::string> texts;
    for (Sentence& s : kept_) texts.push_back(std::move(s.text));
    return texts;
  }

 private:
  void add_line(std::string_view line) {
    while (line.size() > kMaxSentence) {
      size_t cut = line.rfind(' ', kMaxSentence);
      if (cut == std::string_view::npos || cut == 0) cut = find_document_cut(line, kMaxSentence);
      add_sentence(line.substr(0, cut));
      line.remove_prefix(cut);
    }
    add_sentence(line);
  }
  void add_sentence(std::string_view text) {
    if (text.empty()) return;
    const uint32_t key = random_.bits(index_++);
    if (key > limit_) return;
    kept_.push_back({key, std::string(text)});
    bytes_ += static_cast<int64_t>(text.size());
    if (bytes_ > 2 * max_bytes_) shrink();
  }
  /// Lowers the limit until what is kept fits; the order of the text stays.
  void shrink() {
    std::vector<std::pair<uint32_t, int64_t>> sizes;
    for (const Sentence& s : kept_) sizes.emplace_back(s.key, static_cast<int64_t>(s.text.size()));
    std::sort(sizes.begin(), sizes.end());
    int64_t sum = 0;
    for (const auto& [key, size] : sizes) {
      sum += size;
      if (sum > max_bytes_) break;
      limit_ = key;
    }
    std::erase_if(kept_, [&](const Sentence& s) { return s.key > limit_; });
    bytes_ = 0;
    for (const Sentence& s : kept_) bytes_ += static_cast<int64_t>(s.text.size());
  }

  int64_t max_bytes_;
  Philox random_;
  uint64_t index_ = 0;
  uint32_t limit_ = std::numeric_limits<uint32_t>::max();
  std::vector<Sentence> kept_;
  int64_t bytes_ = 0;
};

class VectorIterator : public sentencepiece::SentenceIterator {
 public:
  explicit VectorIterator(const std::vector<std::string>& texts) : texts_(texts) {}
  bool done() const override { return at_ == texts_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return texts_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& texts_;
  size_t at_ = 0;
};

void check_options(const TokenizerTrainOptions& o) {
  if (o.out.empty()) throw_user("--out PATH says where to write the tokenizer");
  if (o.type != "sentencepiece") throw_user("--type {}: must be sentencepiece or bpe", o.type);
  if (o.model_type != "unigram" && o.model_type != "bpe") {
    throw_user("--model-type {}: must be unigram or bpe", o.model_type);
  }
  if (o.reserved < 0) throw_user("--reserved {}: must not be negative", o.reserved);
  if (o.sample_bytes < 0) throw_user("--sample-bytes {}: must not be negative", o.sample_bytes);
  if (o.vocab <= kFixedPieces + o.reserved || o.vocab > (1 << 20)) {
    throw_user(
        "--vocab {}: must be above {} (3 special and 256 byte pieces, {} reserved) and at most {}",
        o.vocab, kFixedPieces + o.reserved, o.reserved, 1 << 20);
  }
}

std::unordered_map<std::string, std::string> library_options(const TokenizerTrainOptions& o) {
  std::unordered_map<std::string, std::string> settings = {
      {"model_type", o.model_type},
      {"vocab_size", std::to_string(o.vocab)},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"split_digits", "true"},
      {"character_coverage", "0.9995"},
      {"shuffle_input_sentence", "false"},
      {"num_threads", "2"},  // fixed: the sums of the EM steps depend on it
      {"minloglevel", "2"},
  };
  std::string symbols;
  for (int64_t i = 0; i < o.reserved; ++i) {
    if (i > 0) symbols.push_back(',');
    symbols.append(reserved_symbol_name(i));
  }
  if (o.reserved > 0) settings["user_defined_symbols"] = symbols;
  return settings;
}

std::string run_trainer(const TokenizerTrainOptions& o, const std::vector<std::string>& sentences) {
  VectorIterator iterator(sentences);
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train(library_options(o), &iterator, &model);
  if (!status.ok()) {
    throw_user(
        "SentencePiece cannot train {} pieces on this text: {}; give more text or a smaller "
        "--vocab",
        o.vocab, status.ToString());
  }
  return model;
}

/// Signs the model as ours. The trainer takes no model_prefix when it returns the model in memory,
/// but in protobuf's wire format a second trainer_spec behind the first is merged into it.
void sign(std::string& model) {
  const auto field = [](std::string_view bytes) {  // number 2, of type bytes
    return fmt::format("{}{}{}", '\x12', static_cast<char>(bytes.size()), bytes);
  };
  model += field(field(kOwnModelPrefix));
}

}  // namespace

TokenizerTrainResult train_tokenizer(const TokenizerTrainOptions& options) {
  if (options.type == "bpe") return train_bpe_tokenizer(options);
  check_options(options);
  const auto start = std::chrono::steady_clock::now();
  DocumentReader reader(options.documents);
  const int64_t sample_bytes =
      options.sample_bytes > 0 ? options.sample_bytes : options.vocab * kSampleBytesPerPiece;
  SentenceSample sample(sample_bytes, options.seed);
  Document document;
  while (reader.next(document)) {
    if (interrupted()) throw_error("interrupted: no tokenizer was written");
    sample.add_document(document.text);
  }
  const std::vector<std::string> sentences = sample.take();
  TokenizerTrainResult result;
  result.documents = reader.counts().documents;
  result.text_bytes = reader.counts().bytes;
  for (const std::string& s : sentences) result.sample_bytes += static_cast<int64_t>(s.size());
  result.sample_lines = static_cast<int64_t>(sentences.size());
  if (sentences.empty()) throw_user("the input holds no text to train a tokenizer on");
  log::info("training a {} tokenizer of {} pieces on {} lines, {}", options.model_type,
            options.vocab, result.sample_lines,
            format_bytes(static_cast<double>(result.sample_bytes)));
  std::string model = run_trainer(options, sentences);
  sign(model);
  const auto tokenizer = make_sentencepiece(model, options.out);
  result.vocab = tokenizer->vocab();
  result.hash = tokenizer->hash();
  PIVOT_CHECK(result.vocab == options.vocab, "{} pieces trained, {} asked for", result.vocab,
              options.vocab);
  write_file_atomically(options.out, model);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace pivot
