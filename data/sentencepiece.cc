#include "data/sentencepiece.h"

#include <algorithm>
#include <array>
#include <utility>

#include <sentencepiece_processor.h>

#include "data/sentencepiece_proto.h"
#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot {
namespace {

constexpr std::string_view kSpaceSign = "\xE2\x96\x81";      // U+2581
constexpr std::string_view kUnknownText = " \xE2\x81\x87 ";  // what the library decodes <unk> to

enum class PieceKind : uint8_t { Text, Byte, Control, Unknown };

std::string with_spaces(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const size_t at = piece.find(kSpaceSign);
    text.append(piece.substr(0, at));
    if (at == std::string_view::npos) break;
    text.push_back(' ');
    piece.remove_prefix(at + kSpaceSign.size());
  }
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string model, const std::string& where)
      : model_(std::move(model)), facts_(read_sentencepiece_facts(model_, where)) {
    const auto status = model_.empty() ? sentencepiece::util::Status(
                                             sentencepiece::util::StatusCode::kDataLoss, "empty")
                                       : processor_.LoadFromSerializedProto(model_);
    if (!status.ok()) {
      throw_user("{} is not a SentencePiece model: {}", where, status.ToString());
    }
    byte_ids_.fill(-1);
    const int size = processor_.GetPieceSize();
    if (size == 0) throw_user("{} is a SentencePiece model without pieces", where);
    texts_.reserve(static_cast<size_t>(size));
    kinds_.reserve(static_cast<size_t>(size));
    for (int id = 0; id < size; ++id) add_piece(id, where);
    exact_ = facts_.model_prefix == kOwnModelPrefix &&
             std::count(byte_ids_.begin(), byte_ids_.end(), -1) == 0;
  }

  int64_t vocab() const override { return static_cast<int64_t>(texts_.size()); }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    if (!exact_) {
      append_encoded(text, ids);
      return ids;
    }
    size_t at = 0;
    size_t sign = text.find(kSpaceSign);
    size_t invalid = find_invalid_utf8(text);
    for (;;) {
      const size_t special = std::min({sign, invalid, text.size()});
      append_encoded(text.substr(at, special - at), ids);
      if (special == text.size()) break;
      at = special + (special == sign ? kSpaceSign.size() : 1);
      for (const char c : text.substr(special, at - special)) {
        ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
      }
      if (special == sign) {
        sign = text.find(kSpaceSign, at);
      } else {
        invalid = find_invalid_utf8(text.substr(at));
        if (invalid != std::string_view::npos) invalid += at;
      }
    }
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    bool strip = facts_.add_dummy_prefix || facts_.remove_extra_whitespaces;
    for (const int32_t id : ids) {
      check(id);
      std::string_view part = texts_[static_cast<size_t>(id)];
      if (kinds_[static_cast<size_t>(id)] == PieceKind::Control) continue;
      // The space that encoding put before the text is taken away again.
      if (strip && !part.empty() && part[0] == ' ' &&
          kinds_[static_cast<size_t>(id)] == PieceKind::Text) {
        part.remove_prefix(1);
      }
      strip = false;
      text.append(part);
    }
    return text;
  }

  int32_t bos() const override { return processor_.bos_id(); }
  int32_t eos() const override { return processor_.eos_id(); }
  int32_t unk() const override { return processor_.unk_id(); }
  std::string piece(int32_t id) const override {
    check(id);
    return processor_.IdToPiece(id);
  }
  std::string kind() const override { return "sentencepiece"; }
  const std::string& model_bytes() const override { return model_; }
  int32_t token_bytes(int32_t id) const override {
    check(id);
    const size_t at = static_cast<size_t>(id);
    const bool text = kinds_[at] == PieceKind::Text || kinds_[at] == PieceKind::Byte;
    return text ? static_cast<int32_t>(texts_[at].size()) : 0;
  }
  int32_t find_piece(std::string_view piece) const override {
    const int id = processor_.PieceToId(std::string(piece));
    return processor_.IdToPiece(id) == piece ? id : -1;
  }

 private:
  void check(int32_t id) const {
    if (id < 0 || id >= vocab())
      throw_user("token {} is outside the vocabulary of {}", id, vocab());
  }

  void add_piece(int id, const std::string& where) {
    const std::string& piece = processor_.IdToPiece(id);
    if (processor_.IsControl(id)) {
      kinds_.push_back(PieceKind::Control);
      texts_.emplace_back();
    } else if (processor_.IsUnknown(id)) {
      kinds_.push_back(PieceKind::Unknown);
      texts_.emplace_back(kUnknownText);
    } else if (processor_.IsByte(id)) {
      const int high = piece.size() == 6 ? hex_digit(piece[3]) : -1;
      const int low = piece.size() == 6 ? hex_digit(piece[4]) : -1;
      if (high < 0 || low < 0) throw_user("{}: piece {} is not a byte", where, id);
      kinds_.push_back(PieceKind::Byte);
      texts_.emplace_back(1, static_cast<char>(high * 16 + low));
      byte_ids_[static_cast<size_t>(high * 16 + low)] = id;
    } else {
      kinds_.push_back(PieceKind::Text);
      texts_.push_back(facts_.escape_whitespaces ? with_spaces(piece) : piece);
    }
  }

  void append_encoded(std::string_view text, std::vector<int32_t>& ids) const {
    if (text.empty()) return;
    std::vector<int> part;
    const auto status = processor_.Encode({text.data(), text.size()}, &part);
    if (!status.ok()) throw_error("SentencePiece cannot encode: {}", status.ToString());
    ids.insert(ids.end(), part.begin(), part.end());
  }

  std::string model_;
  SentencePieceFacts facts_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> texts_;  // what each piece decodes to
  std::vector<PieceKind> kinds_;
  std::array<int32_t, 256> byte_ids_ = {};
  bool exact_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece(std::string model, const std::string& where) {
  return std::make_unique<SentencePieceTokenizer>(std::move(model), where);
}

}  // namespace pivot
