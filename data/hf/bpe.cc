// Byte-pair encoding, byte-level or on characters (with byte fallback as SentencePiece's).
#include <algorithm>
#include <array>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "data/hf/characters.h"
#include "data/hf/merges.h"
#include "data/hf/model.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

constexpr std::string_view kSpaceSign = "\xE2\x96\x81";  // U+2581

struct Settings {
  explicit Settings(const Fields& fields)
      : prefix(fields.text("continuing_subword_prefix", "")),
        suffix(fields.text("end_of_word_suffix", "")),
        fuse_unk(fields.flag("fuse_unk", false)),
        byte_fallback(fields.flag("byte_fallback", false)),
        ignore_merges(fields.flag("ignore_merges", false)) {}
  std::string prefix, suffix;
  bool fuse_unk, byte_fallback, ignore_merges;
};

class Bpe : public Model {
 public:
  Bpe(Vocabulary vocabulary, const Fields& fields, Alphabet alphabet,
      const std::vector<std::pair<std::string, std::string>>& merges)
      : Model(std::move(vocabulary)),
        settings_(fields),
        alphabet_(alphabet),
        merges_(merges.size()),
        byte_ids_(vocabulary_.byte_ids()) {
    if (fields.has("unk_token")) {
      const std::string name = fields.text("unk_token");
      unk_ = vocabulary_.find(name);
      unknown_unk_ = unk_ < 0 ? name : "";
    }
    where_ = fields.where();
    for (size_t i = 0; i < merges.size(); ++i) add_merge(merges[i], i);
    for (int b = 0; b < 256; ++b) {
      std::string text;
      append_char(text, byte_to_char(static_cast<uint8_t>(b)));
      level_ids_[static_cast<size_t>(b)] = vocabulary_.find(text);
    }
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      const std::string& token = vocabulary_.token(id);
      if (!token.empty() && char_at(token.data()).bytes == token.size()) {
        char_ids_.emplace(char_at(token.data()).code, id);
      }
    }
    // A text without pre-tokenizer is one piece. Cut in front of space signs, where no rule joins
    // anything over such a cut, its words are found in the cache.
    cuts_before_sign_ = !sign_joined_ && alphabet_ == Alphabet::Chars && settings_.prefix.empty() &&
                        settings_.suffix.empty() && !settings_.ignore_merges &&
                        vocabulary_.find(kSpaceSign) >= 0;
  }

  void encode(std::string_view piece, const std::vector<bool>& barred,
              std::vector<Token>& tokens) const override {
    if (settings_.ignore_merges) {
      const int32_t whole = alphabet_ == Alphabet::Bytes ? vocabulary_.find(to_byte_level(piece))
                                                         : vocabulary_.find(piece);
      if (whole >= 0 && !is_barred(barred, whole)) {
        tokens.push_back({whole, {0, static_cast<uint32_t>(piece.size())}});
        return;
      }
    }
    std::vector<Symbol> symbols;
    symbols.reserve(piece.size());
    if (alphabet_ == Alphabet::Bytes) {
      add_bytes(piece, symbols);
    } else {
      add_chars(piece, barred, symbols);
    }
    merge_symbols(merges_, barred, symbols);
    for (const Symbol& s : symbols) tokens.push_back({s.id, s.range});
  }

  void add_cuts(std::string_view piece, std::vector<uint32_t>& cuts) const override {
    if (!cuts_before_sign_) return;
    for (size_t at = piece.find(kSpaceSign, 1); at != std::string_view::npos;
         at = piece.find(kSpaceSign, at + 1)) {
      const bool after_sign = piece.substr(0, at).ends_with(kSpaceSign);
      if (!after_sign) cuts.push_back(static_cast<uint32_t>(at));
    }
  }

 private:
  static bool is_barred(const std::vector<bool>& barred, int32_t id) {
    return !barred.empty() && barred[static_cast<size_t>(id)];
  }

  void add_merge(const std::pair<std::string, std::string>& merge, size_t rank) {
    const auto& [left, right] = merge;
    const auto id_of = [&](std::string_view token) {
      const int32_t id = vocabulary_.find(token);
      if (id < 0) {
        throw_user("{}: merges: number {} ('{}' and '{}') needs the token '{}', which is not there",
                   where_, rank, left, right, token);
      }
      return id;
    };
    const int32_t a = id_of(left);
    const int32_t b = id_of(right);
    if (right.size() < settings_.prefix.size()) {
      throw_user("{}: merges: number {}: '{}' is shorter than the prefix '{}'", where_, rank, right,
                 settings_.prefix);
    }
    const int32_t made = id_of(left + right.substr(settings_.prefix.size()));
    if (made == a || made == b) {
      throw_user("{}: merges: number {} ('{}' and '{}') makes one of its own parts", where_, rank,
                 left, right);
    }
    sign_joined_ = sign_joined_ || joins_sign(vocabulary_.token(made));
    merges_.set(a, b, {static_cast<uint32_t>(rank), made});
  }

  /// True when a rule joins something to a space sign behind it.
  static bool joins_sign(std::string_view token) {
    while (token.starts_with(kSpaceSign)) token.remove_prefix(kSpaceSign.size());
    return token.find(kSpaceSign) != std::string_view::npos;
  }

  void add_bytes(std::string_view piece, std::vector<Symbol>& symbols) const {
    Unknown unknown;
    for (uint32_t i = 0; i < piece.size(); ++i) {
      const auto byte = static_cast<uint8_t>(piece[i]);
      const int32_t id = level_ids_[byte];
      if (id >= 0) {
        flush(unknown, symbols);
        symbols.push_back({id, {i, i + 1}});
      } else {
        std::string text;
        append_char(text, byte_to_char(byte));
        add_missing(text, {i, i + 1}, unknown, symbols);
      }
    }
    flush(unknown, symbols);
  }

  void add_chars(std::string_view piece, const std::vector<bool>& barred,
                 std::vector<Symbol>& symbols) const {
    Unknown unknown;
    for (uint32_t at = 0; at < piece.size();) {
      const Char c = char_at(piece.data() + at);
      const Range range = {at, at + c.bytes};
      const bool affixes = (at > 0 && !settings_.prefix.empty()) ||
                           (range.end == piece.size() && !settings_.suffix.empty());
      std::string text;
      int32_t id = -1;
      if (affixes) {
        if (at > 0) text = settings_.prefix;
        text += piece.substr(at, c.bytes);
        if (range.end == piece.size()) text += settings_.suffix;
        id = vocabulary_.find(text);
      } else if (const auto it = char_ids_.find(c.code); it != char_ids_.end()) {
        id = it->second;
      }
      if (id >= 0 && is_barred(barred, id)) id = -1;
      if (id >= 0) {
        flush(unknown, symbols);
        symbols.push_back({id, range});
      } else {
        if (!affixes) text = piece.substr(at, c.bytes);
        add_missing(text, range, unknown, symbols);
      }
      at = range.end;
    }
    flush(unknown, symbols);
  }

  /// An unknown token that is not written yet: more may be fused to it.
  struct Unknown {
    bool any = false;
    Range range;
  };
  void flush(Unknown& unknown, std::vector<Symbol>& symbols) const {
    if (unknown.any) symbols.push_back({unk_, unknown.range});
    unknown.any = false;
  }
  /// `text` is no token: bytes, or unknown, or nothing where the model has neither.
  void add_missing(std::string_view text, Range range, Unknown& unknown,
                   std::vector<Symbol>& symbols) const {
    if (settings_.byte_fallback && has_bytes(text)) {
      // As the package does it, an unknown token that still waits comes after these bytes.
      const uint32_t count = static_cast<uint32_t>(text.size());
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t begin = std::min(range.begin + i, range.end);
        const uint32_t end = i + 1 == count ? range.end : std::min(begin + 1, range.end);
        symbols.push_back({byte_ids_[static_cast<uint8_t>(text[i])], {begin, end}});
      }
      return;
    }
    if (!unknown_unk_.empty()) {
      throw_user("{}: the unk_token '{}' is needed and is no token", where_, unknown_unk_);
    }
    if (unk_ < 0) return;
    if (unknown.any && settings_.fuse_unk) {
      unknown.range.end = range.end;
      return;
    }
    flush(unknown, symbols);
    unknown = {true, range};
  }
  bool has_bytes(std::string_view text) const {
    for (const char c : text) {
      if (byte_ids_[static_cast<uint8_t>(c)] < 0) return false;
    }
    return true;
  }

  Settings settings_;
  Alphabet alphabet_;
  MergeTable merges_;
  std::vector<int32_t> byte_ids_;                   // of "<0x00>" to "<0xFF>"
  std::array<int32_t, 256> level_ids_ = {};         // of the stand-ins of bytes
  std::unordered_map<uint32_t, int32_t> char_ids_;  // tokens of one character
  std::string where_, unknown_unk_;
  bool sign_joined_ = false;
  bool cuts_before_sign_ = false;
};

}  // namespace

std::unique_ptr<Model> make_bpe(TokenizerFile& file, const Fields& fields, Alphabet alphabet) {
  if (file.form != TokenizerFile::Vocab::Ids || !file.has_merges) {
    throw_user("{}: a BPE model needs 'vocab' (tokens and ids) and 'merges'", fields.where());
  }
  if (fields.has("dropout") && fields.get("dropout") != 0) {
    throw_user("{}: 'dropout' above 0 (merges left out at random) is not supported",
               fields.where());
  }
  const bool affixes = !fields.text("continuing_subword_prefix", "").empty() ||
                       !fields.text("end_of_word_suffix", "").empty();
  PIVOT_CHECK(!affixes || alphabet == Alphabet::Chars, "prefixes belong to characters");
  return std::make_unique<Bpe>(Vocabulary(std::move(file.tokens), file.ids,
                                          Vocabulary::Twice::Refuse, fields.where() + ": vocab"),
                               fields, alphabet, file.merges);
}

}  // namespace pivot::hf
