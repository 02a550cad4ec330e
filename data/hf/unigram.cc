// Unigram language model (Kudo, ACL 2018): the most probable sequence of pieces.
#include <algorithm>
#include <limits>

#include "data/hf/byte_trie.h"
#include "data/hf/characters.h"
#include "data/hf/model.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

// Every place of a text tries all tokens that begin there; longer ones would make that quadratic.
constexpr size_t kLongestToken = 1024;
constexpr double kUnknownPenalty = 10;  // below the lowest score, as in SentencePiece

class Unigram : public Model {
 public:
  Unigram(Vocabulary vocabulary, std::vector<double> scores, int32_t unk, bool byte_fallback)
      : Model(std::move(vocabulary)),
        scores_(std::move(scores)),
        byte_ids_(vocabulary_.byte_ids()),
        byte_fallback_(byte_fallback) {
    unk_ = unk;
    unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
    std::vector<std::string_view> keys;
    for (int32_t id = 0; id < vocabulary_.size(); ++id) keys.push_back(vocabulary_.token(id));
    trie_ = ByteTrie(keys);
  }

  void encode(std::string_view piece, const std::vector<bool>& barred,
              std::vector<Token>& tokens) const override {
    std::vector<Node> best(piece.size() + 1);
    best[0].score = 0;
    for (uint32_t at = 0; at < piece.size();) {
      extend(piece, at, barred, best);
      at += char_at(piece.data() + at).bytes;
    }
    std::vector<Token> path;
    for (auto end = static_cast<uint32_t>(piece.size()); end > 0; end = best[end].from) {
      const Range range = {best[end].from, end};
      if (best[end].id == unk_ && !path.empty() && path.back().id == unk_) {
        path.back().range.begin = range.begin;  // neighbours are fused
      } else {
        path.push_back({best[end].id, range});
      }
    }
    std::reverse(path.begin(), path.end());
    for (const Token& t : path) add_token(piece, t, barred, tokens);
  }

 private:
  struct Node {
    double score = -std::numeric_limits<double>::infinity();
    uint32_t from = 0;
    int32_t id = -1;
  };

  void extend(std::string_view piece, uint32_t at, const std::vector<bool>& barred,
              std::vector<Node>& best) const {
    const double here = best[at].score;
    const uint32_t one = char_at(piece.data() + at).bytes;
    bool whole_char = false;
    const auto offer = [&](uint32_t end, double score, int32_t id) {
      if (best[end].id < 0 || score > best[end].score) best[end] = {score, at, id};
    };
    trie_.prefixes(piece.substr(at), [&](uint32_t length, int32_t id) {
      if (!barred.empty() && barred[static_cast<size_t>(id)]) return;
      offer(at + length, scores_[static_cast<size_t>(id)] + here, id);
      whole_char = whole_char || length == one;
    });
    if (whole_char) return;
    if (unk_ < 0) throw_user("the tokenizer has no token for a character and no unk_id");
    offer(at + one, unknown_score_ + here, unk_);
  }

  void add_token(std::string_view piece, const Token& t, const std::vector<bool>& barred,
                 std::vector<Token>& tokens) const {
    if (t.id != unk_) {
      tokens.push_back(t);
      return;
    }
    const std::string_view text = piece.substr(t.range.begin, t.range.size());
    // Fused unknowns may happen to spell a token.
    const int32_t id = vocabulary_.find(text);
    if (id >= 0 && (barred.empty() || !barred[static_cast<size_t>(id)])) {
      tokens.push_back({id, t.range});
      return;
    }
    const bool bytes = byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) {
                         return byte_ids_[static_cast<uint8_t>(c)] >= 0;
                       });
    if (!bytes) {
      tokens.push_back(t);
      return;
    }
    for (uint32_t i = 0; i < text.size(); ++i) {
      tokens.push_back(
          {byte_ids_[static_cast<uint8_t>(text[i])], {t.range.begin + i, t.range.begin + i + 1}});
    }
  }

  std::vector<double> scores_;
  std::vector<int32_t> byte_ids_;
  ByteTrie trie_;
  double unknown_score_ = 0;
  bool byte_fallback_;
};

}  // namespace

std::unique_ptr<Model> make_unigram(TokenizerFile& file, const Fields& fields, Alphabet alphabet) {
  PIVOT_CHECK(alphabet == Alphabet::Chars, "Unigram models read characters");
  if (file.form != TokenizerFile::Vocab::Scores || file.tokens.empty()) {
    throw_user("{}: a Unigram model needs 'vocab', a list of [\"token\", score]", fields.where());
  }
  for (const std::string& token : file.tokens) {
    if (token.size() > kLongestToken) {
      throw_user("{}: a token of {} bytes, {} are the limit", fields.where(), token.size(),
                 kLongestToken);
    }
  }
  int32_t unk = -1;
  const auto last = static_cast<int64_t>(file.tokens.size()) - 1;
  if (fields.has("unk_id")) unk = static_cast<int32_t>(fields.number("unk_id", 0, last));
  std::vector<int64_t> ids(file.tokens.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i);
  return std::make_unique<Unigram>(
      Vocabulary(std::move(file.tokens), ids, Vocabulary::Twice::LaterWins,
                 fields.where() + ": vocab"),
      std::move(file.scores), unk, fields.flag("byte_fallback", false));
}

}  // namespace pivot::hf
