#include "data/sentencepiece.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>
#include <sentencepiece_processor.h>

#include "data/hf/json.h"
#include "data/hf/special_tokens.h"
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
  SentencePieceTokenizer(std::string model, const std::string& where, std::string config)
      : model_(std::move(model)),
        config_(std::move(config)),
        facts_(read_sentencepiece_facts(model_, where)) {
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
    bos_ = processor_.bos_id();
    eos_ = processor_.eos_id();
    refuse_added_tokens(where);
    const auto find = [this](std::string_view piece) { return find_piece(piece); };
    hf::apply_config_names(config_, find, bos_, eos_);
  }

  int64_t vocab() const override { return static_cast<int64_t>(texts_.size()); }

  std::vector<int32_t> encode(std::string_view text) const override {
    Encoding e;
    encode_text(text, 0, Spans::No, e);
    return std::move(e.ids);
  }

  Encoding encode_spans(std::string_view text, SpecialText special) const override {
    Encoding e;
    size_t at = 0;
    ControlSearch search(*this, text);
    while (special == SpecialText::Parse) {
      const auto [found, id] = search.next(at);
      if (id < 0) break;
      encode_text(text.substr(at, found - at), static_cast<int64_t>(at), Spans::Yes, e);
      at = found + processor_.IdToPiece(id).size();
      add(id, static_cast<int64_t>(found), static_cast<int64_t>(at), e);
    }
    encode_text(text.substr(at), static_cast<int64_t>(at), Spans::Yes, e);
    return e;
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

  int32_t bos() const override { return bos_; }
  int32_t eos() const override { return eos_; }
  int32_t unk() const override { return processor_.unk_id(); }
  std::string piece(int32_t id) const override {
    check(id);
    return processor_.IdToPiece(id);
  }
  std::string kind() const override { return "sentencepiece"; }
  const std::string& model_bytes() const override { return model_; }
  const std::string& config() const override { return config_; }
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
      if (!piece.empty()) controls_.push_back(id);
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

  /// Control symbols spelt in a text, in order; of several at one place the longest.
  class ControlSearch {
   public:
    ControlSearch(const SentencePieceTokenizer& tokenizer, std::string_view text)
        : tokenizer_(tokenizer), text_(text), found_(tokenizer.controls_.size(), 0), fresh_(true) {}
    /// The first from `at` on; id -1 where there is none.
    std::pair<size_t, int32_t> next(size_t at) {
      std::pair<size_t, int32_t> best = {std::string_view::npos, -1};
      size_t longest = 0;
      for (size_t i = 0; i < found_.size(); ++i) {
        const int32_t id = tokenizer_.controls_[i];
        const std::string& piece = tokenizer_.processor_.IdToPiece(id);
        if (fresh_ || found_[i] < at) found_[i] = text_.find(piece, at);
        if (found_[i] == std::string_view::npos) continue;
        if (found_[i] < best.first || (found_[i] == best.first && piece.size() > longest)) {
          best = {found_[i], id};
          longest = piece.size();
        }
      }
      fresh_ = false;
      return best;
    }

   private:
    const SentencePieceTokenizer& tokenizer_;
    std::string_view text_;
    std::vector<size_t> found_;  // of each control symbol, the next place
    bool fresh_;
  };

  enum class Spans { No, Yes };
  static void add(int32_t id, int64_t begin, int64_t end, Encoding& e) {
    e.ids.push_back(id);
    e.begin.push_back(begin);
    e.end.push_back(end);
  }

  /// `text` begins at `base` of the given text. Spans::No leaves begin and end as they are.
  void encode_text(std::string_view text, int64_t base, Spans spans, Encoding& e) const {
    if (!exact_) {
      append_encoded(text, base, spans, e);
      return;
    }
    size_t at = 0;
    size_t sign = text.find(kSpaceSign);
    size_t invalid = find_invalid_utf8(text);
    for (;;) {
      const size_t special = std::min({sign, invalid, text.size()});
      append_encoded(text.substr(at, special - at), base + static_cast<int64_t>(at), spans, e);
      if (special == text.size()) break;
      at = special + (special == sign ? kSpaceSign.size() : 1);
      for (const char c : text.substr(special, at - special)) {
        const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
        if (spans == Spans::Yes) {
          add(id, base + static_cast<int64_t>(special), base + static_cast<int64_t>(at), e);
        } else {
          e.ids.push_back(id);
        }
      }
      if (special == sign) {
        sign = text.find(kSpaceSign, at);
      } else {
        invalid = find_invalid_utf8(text.substr(at));
        if (invalid != std::string_view::npos) invalid += at;
      }
    }
  }

  void append_encoded(std::string_view text, int64_t base, Spans spans, Encoding& e) const {
    if (text.empty()) return;
    if (spans == Spans::No) {
      std::vector<int> part;
      const auto status = processor_.Encode({text.data(), text.size()}, &part);
      if (!status.ok()) throw_error("SentencePiece cannot encode: {}", status.ToString());
      e.ids.insert(e.ids.end(), part.begin(), part.end());
      return;
    }
    const auto made = processor_.EncodeAsImmutableProto({text.data(), text.size()});
    const size_t first = e.ids.size();
    for (size_t i = 0; i < made.pieces_size(); ++i) {
      const auto piece = made.pieces(static_cast<int>(i));
      add(static_cast<int32_t>(piece.id()), base + piece.begin(), base + piece.end(), e);
    }
    share_chars(first, e);
  }

  /// The library gives a character's bytes to the last of its byte pieces; here all have them.
  void share_chars(size_t first, Encoding& e) const {
    for (size_t i = e.ids.size(); i > first + 1; --i) {
      const size_t at = i - 2;
      const bool byte = kinds_[static_cast<size_t>(e.ids[at])] == PieceKind::Byte;
      if (byte && e.begin[at] == e.end[at]) e.end[at] = e.end[at + 1];
    }
  }

  void refuse_added_tokens(const std::string& where) const {
    if (config_.empty()) return;
    const std::string name = "tokenizer_config.json beside " + where;
    const auto json = hf::read_json_object(config_, name);
    const auto list = json->find("added_tokens_decoder");
    if (list == json->end() || !list->is_object()) return;
    for (const auto& [id, token] : list->items()) {
      const std::string content = hf::Fields(token, name + ": " + id).text("content");
      if (find_piece(content) < 0) {
        throw_user(
            "{}: adds the token '{}' (id {}), which tokenizer.model lacks; save the tokenizer as "
            "tokenizer.json instead",
            name, content, id);
      }
    }
  }

  std::string model_, config_;
  SentencePieceFacts facts_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> texts_;  // what each piece decodes to
  std::vector<PieceKind> kinds_;
  std::array<int32_t, 256> byte_ids_ = {};
  std::vector<int32_t> controls_;
  int32_t bos_ = -1;
  int32_t eos_ = -1;
  bool exact_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece(std::string model, const std::string& where,
                                              std::string config) {
  return std::make_unique<SentencePieceTokenizer>(std::move(model), where, std::move(config));
}

}  // namespace pivot
