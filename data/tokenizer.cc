#include "data/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "data/sentencepiece.h"
#include "data/utf8.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kByteBos = 256;
constexpr int32_t kByteEos = 257;
constexpr const char* kModelFile = "tokenizer.model";
constexpr const char* kBytesFile = "tokenizer.bytes";

/// Ids 0 to 255 are bytes, 256 begins and 257 ends a document.
class ByteTokenizer : public Tokenizer {
 public:
  int64_t vocab() const override { return 258; }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      check(id);
      if (id < kByteBos) text.push_back(static_cast<char>(id));
    }
    return text;
  }
  int32_t bos() const override { return kByteBos; }
  int32_t eos() const override { return kByteEos; }
  int32_t unk() const override { return -1; }
  std::string piece(int32_t id) const override {
    check(id);
    if (id == kByteBos) return "<s>";
    if (id == kByteEos) return "</s>";
    if (id > 32 && id < 127) return std::string(1, static_cast<char>(id));
    return fmt::format("<0x{:02X}>", id);
  }
  std::string kind() const override { return "bytes"; }
  const std::string& model_bytes() const override { return none_; }
  int32_t token_bytes(int32_t id) const override {
    check(id);
    return id < kByteBos ? 1 : 0;
  }

 private:
  void check(int32_t id) const {
    if (id < 0 || id >= vocab()) throw_user("token {} is outside the byte vocabulary of 258", id);
  }
  std::string none_;
};

}  // namespace

std::string Tokenizer::hash() const {
  return tokenizer_hash(kind(), model_bytes());
}

Encoding Tokenizer::encode_spans(std::string_view text, SpecialText) const {
  Encoding e{encode(text), {}, {}};
  int64_t at = 0;
  for (const int32_t id : e.ids) {
    e.begin.push_back(at);
    at += token_bytes(id);
    e.end.push_back(at);
  }
  PIVOT_CHECK(at == static_cast<int64_t>(text.size()), "{} tokens do not give the text back",
              kind());
  return e;
}

std::vector<int32_t> Tokenizer::add_special(std::vector<int32_t> ids) const {
  if (bos() >= 0) ids.insert(ids.begin(), bos());
  if (eos() >= 0) ids.push_back(eos());
  return ids;
}

const std::string& Tokenizer::config() const {
  static const std::string none;
  return none;
}

int32_t Tokenizer::token_bytes(int32_t id) const {
  return static_cast<int32_t>(decode(std::span(&id, 1)).size());
}

int32_t Tokenizer::find_piece(std::string_view text) const {
  for (int32_t id = 0; id < vocab(); ++id) {
    if (piece(id) == text) return id;
  }
  return -1;
}

std::string reserved_symbol_name(int64_t index) {
  return fmt::format("<r{}>", index);
}

std::vector<int32_t> reserved_symbols(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (;;) {
    const int32_t id = tokenizer.find_piece(reserved_symbol_name(static_cast<int64_t>(ids.size())));
    if (id < 0) return ids;
    ids.push_back(id);
  }
}

void save_tokenizer(const Tokenizer& tokenizer, const std::string& directory) {
  if (tokenizer.kind() == "bytes") {
    write_file_atomically(directory + "/" + kBytesFile, "256 bytes, 256 = bos, 257 = eos\n");
  } else {
    write_file_atomically(directory + "/" + kModelFile, tokenizer.model_bytes());
  }
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& kind, std::string model_bytes,
                                          std::string config) {
  (void)config;
  if (kind == "bytes") return std::make_unique<ByteTokenizer>();
  if (kind == "sentencepiece") {
    return make_sentencepiece(std::move(model_bytes), "SentencePiece model");
  }
  throw_user("tokenizer of kind '{}' is not known (bytes, sentencepiece)", kind);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& spec) {
  if (spec.empty()) throw_user("no tokenizer given: 'bytes' or the path of a SentencePiece model");
  if (spec == "bytes") return std::make_unique<ByteTokenizer>();
  if (!fs::exists(spec)) {
    throw_user("tokenizer {}: no such file or directory ('bytes' needs no file)", spec);
  }
  if (!fs::is_directory(spec)) {
    if (fs::path(spec).filename() == kBytesFile) return std::make_unique<ByteTokenizer>();
    return make_sentencepiece(read_file(spec), spec);
  }
  const std::string model = spec + "/" + kModelFile;
  if (fs::exists(model)) return make_sentencepiece(read_file(model), model);
  if (fs::exists(spec + "/" + kBytesFile)) return std::make_unique<ByteTokenizer>();
  throw_user("tokenizer {}: the directory holds neither {} nor {}", spec, kModelFile, kBytesFile);
}

std::string StreamDecoder::push(int32_t id) {
  if (control_ == ControlTokens::Skip && tokenizer_.token_bytes(id) == 0) return "";
  ids_.push_back(id);
  const std::string text = tokenizer_.decode(ids_);
  held_ += text.substr(std::min(decoded_, text.size()));
  // Only the last id is needed as left neighbour of what comes (leading spaces may depend on it).
  ids_.erase(ids_.begin(), ids_.end() - 1);
  decoded_ = tokenizer_.decode(ids_).size();
  const size_t tail = incomplete_utf8_tail(held_);
  size_t replaced = 0;
  const std::string out =
      replace_invalid_utf8(std::string_view(held_).substr(0, held_.size() - tail), &replaced);
  held_.erase(0, held_.size() - tail);
  return out;
}

std::string StreamDecoder::finish() {
  size_t replaced = 0;
  const std::string out = replace_invalid_utf8(held_, &replaced);
  held_.clear();
  ids_.clear();
  decoded_ = 0;
  return out;
}

}  // namespace pivot
