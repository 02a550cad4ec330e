#include "data/hf/tokenizer.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "data/hf/added_tokens.h"
#include "data/hf/characters.h"
#include "data/hf/decoder.h"
#include "data/hf/model.h"
#include "data/hf/normalizer.h"
#include "data/hf/pool.h"
#include "data/hf/pre_tokenizer.h"
#include "data/hf/special_tokens.h"
#include "data/hf/word_cache.h"
#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

/// What one call at a time works with.
struct Scratch {
  std::unique_ptr<WordCache> caches[2];  // by SpecialText: barred tokens make other ids
  std::vector<Token> tokens;
  std::vector<uint32_t> cuts;
};

/// Where the tokens of one call go.
struct Output {
  Scratch& scratch;
  SpecialText special;
  std::vector<int32_t> ids = {};
  std::vector<Range> origins = {};  // with `track`, one a token
  bool track = false;
};

/// BPE without affixes can spell bytes itself.
bool reads_bytes(const Fields& file) {
  const Fields model = file.object("model");
  return model.text("type", "BPE") == "BPE" &&
         model.text("continuing_subword_prefix", "").empty() &&
         model.text("end_of_word_suffix", "").empty();
}

/// Everything that the two files say.
struct Parts {
  Parts(TokenizerFile& file, const Fields& fields, const Fields& config)
      : normalizers(make_normalizers(fields)),
        pre_tokenizers(make_pre_tokenizers(fields, reads_bytes(fields))),
        model(make_model(file, pre_tokenizers.alphabet, fields.where())),
        added(fields, config, model->vocabulary()),
        decoders(make_decoders(fields)) {
    added.normalize(normalizers);
    vocab = model->vocabulary().size();
    for (const AddedToken& t : added.all()) vocab = std::max(vocab, t.id + 1);
    for (const AddedToken& t : added.all()) {
      if (!t.special || t.id >= model->vocabulary().size()) continue;
      barred.resize(static_cast<size_t>(vocab));
      barred[static_cast<size_t>(t.id)] = true;
    }
    const auto find = [this](std::string_view token) { return find_token(token); };
    special = read_special_tokens(config, find, model->unk(), read_surroundings(fields, vocab));
  }

  int32_t find_token(std::string_view token) const {
    const AddedToken* t = added.find(token);
    return t != nullptr ? t->id : model->vocabulary().find(token);
  }

  std::vector<std::unique_ptr<Normalizer>> normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<Model> model;
  AddedTokens added;
  Decoders decoders;
  SpecialTokens special;
  int32_t vocab = 0;
  /// Special tokens that the model could make from text; empty where it cannot make any.
  std::vector<bool> barred;
};

std::unique_ptr<Parts> read_parts(std::string_view json, std::string_view config,
                                  const std::string& where) {
  TokenizerFile file = read_tokenizer_file(json, where);
  const Fields fields(*file.rest, where);
  if (const std::string version = fields.text("version", "1.0"); version != "1.0") {
    throw_user("{}: version '{}' is not known", where, version);
  }
  const std::string config_name = "tokenizer_config.json beside " + where;
  const auto config_json = read_json_object(config.empty() ? "{}" : config, config_name);
  return std::make_unique<Parts>(file, fields, Fields(*config_json, config_name));
}

class HfTokenizer : public Tokenizer {
 public:
  HfTokenizer(std::string json, std::string config, const std::string& where)
      : json_(std::move(json)),
        config_(std::move(config)),
        parts_(read_parts(json_, config_, where)) {
    for (int32_t id = 0; parts_->decoders.byte_level_only && id < parts_->vocab; ++id) {
      std::string bytes;
      if (!append_from_byte_level(spelling(id), bytes)) bytes = spelling(id);
      texts_.push_back(std::move(bytes));
    }
  }

  int64_t vocab() const override { return parts_->vocab; }

  std::vector<int32_t> encode(std::string_view text) const override {
    return run(text, SpecialText::Parse, nullptr);
  }
  Encoding encode_spans(std::string_view text, SpecialText special) const override {
    Encoding made;
    made.ids = run(text, special, &made);
    return made;
  }
  std::vector<int32_t> add_special(std::vector<int32_t> ids) const override {
    const Surroundings& around = parts_->special.around;
    ids.insert(ids.begin(), around.before.begin(), around.before.end());
    ids.insert(ids.end(), around.after.begin(), around.after.end());
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) check(id);
    if (parts_->decoders.byte_level_only) {
      for (const int32_t id : ids) text += texts_[static_cast<size_t>(id)];
      return text;
    }
    std::vector<std::string> parts;
    parts.reserve(ids.size());
    for (const int32_t id : ids) parts.push_back(spelling(id));
    for (const auto& step : parts_->decoders.steps) step->apply(parts);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0 && parts_->decoders.absent) text.push_back(' ');
      text += parts[i];
    }
    return text;
  }

  int32_t bos() const override { return parts_->special.bos; }
  int32_t eos() const override { return parts_->special.eos; }
  int32_t unk() const override { return parts_->special.unk; }
  std::string piece(int32_t id) const override {
    check(id);
    const AddedToken* t = parts_->added.find(id);
    return t != nullptr ? t->content : parts_->model->vocabulary().token(id);
  }
  std::string kind() const override { return "huggingface"; }
  const std::string& model_bytes() const override { return json_; }
  const std::string& config() const override { return config_; }
  int32_t token_bytes(int32_t id) const override {
    check(id);
    const AddedToken* t = parts_->added.find(id);
    if (t != nullptr && t->special) return 0;
    if (parts_->decoders.byte_level_only) {
      return static_cast<int32_t>(texts_[static_cast<size_t>(id)].size());
    }
    if (parts_->decoders.absent) return static_cast<int32_t>(spelling(id).size());
    // The first token of a text may lose its space; the second does not.
    const int32_t twice[] = {id, id};
    return static_cast<int32_t>(decode(twice).size() - decode(std::span(twice, 1)).size());
  }
  int32_t find_piece(std::string_view piece) const override { return parts_->find_token(piece); }

 private:
  void check(int32_t id) const {
    if (id < 0 || id >= parts_->vocab) {
      throw_user("token {} is outside the vocabulary of {}", id, parts_->vocab);
    }
  }
  /// What decoders are given for a token.
  const std::string& spelling(int32_t id) const {
    const AddedToken* t = parts_->added.find(id);
    return t != nullptr ? t->matched : parts_->model->vocabulary().token(id);
  }

  std::vector<int32_t> run(std::string_view given, SpecialText special, Encoding* spans) const;
  void encode_valid(std::string_view text, Output& out) const;
  void encode_segment(Text& text, Output& out) const;
  void encode_pieces(Text& text, Output& out) const;
  void encode_piece(const Text& text, Range piece, Output& out) const;
  void encode_word(std::string_view word, Output& out) const;
  void run_model(std::string_view word, Output& out) const;

  std::string json_, config_;
  std::unique_ptr<Parts> parts_;
  std::vector<std::string> texts_;  // byte-level: what each token decodes to
  mutable Pool<Scratch> scratch_;
};

/// Replaces what is no UTF-8 by U+FFFD.
void repair_utf8(Text& text) {
  const std::string_view bytes = text.bytes();
  TextEdit edit(text);
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t found = find_invalid_utf8(bytes.substr(at));
    const size_t bad = found == std::string_view::npos ? bytes.size() : at + found;
    edit.keep(static_cast<uint32_t>(at), static_cast<uint32_t>(bad));
    if (bad == bytes.size()) break;
    at = bad + invalid_utf8_length(bytes, bad);
    edit.replace(static_cast<uint32_t>(bad), static_cast<uint32_t>(at), kReplacementCharacter);
  }
  edit.finish();
}

/// Ranges of `text` to whole characters, ascending, in bytes of the given text.
void write_spans(const Text& text, const std::vector<Range>& origins, Encoding& spans) {
  const std::string_view bytes = text.bytes();
  int64_t begin = 0;
  int64_t end = 0;
  for (Range r : origins) {
    while (r.begin > 0 && r.begin < bytes.size() && !begins_char(bytes[r.begin])) --r.begin;
    while (r.end < bytes.size() && !begins_char(bytes[r.end])) ++r.end;
    const Range given = text.origin(r.begin, r.end);
    begin = std::max<int64_t>(begin, given.begin);
    end = std::max<int64_t>({begin, end, given.end});
    spans.begin.push_back(begin);
    spans.end.push_back(end);
  }
}

std::vector<int32_t> HfTokenizer::run(std::string_view given, SpecialText special,
                                      Encoding* spans) const {
  // Positions are 32 bits; U+FFFD for each byte and prefixes must fit, too.
  constexpr size_t kLongestText = size_t{1} << 30;
  if (given.size() > kLongestText) {
    throw_user("a text of {} bytes: at most {} can be encoded at once", given.size(), kLongestText);
  }
  const auto scratch = scratch_.take([] { return std::make_unique<Scratch>(); });
  Output out{*scratch, special};
  out.track = spans != nullptr;
  out.ids.reserve(given.size() / 3);
  Text text(given, 0, out.track);
  if (find_invalid_utf8(given) != std::string_view::npos) repair_utf8(text);
  encode_valid(text.bytes(), out);
  if (spans != nullptr) write_spans(text, out.origins, *spans);
  return std::move(out.ids);
}

void HfTokenizer::encode_valid(std::string_view text, Output& out) const {
  std::vector<AddedTokens::Match> matches;
  const bool parse = out.special == SpecialText::Parse;
  parts_->added.find_matches(text, AddedTokens::Stage::Raw, parse, matches);
  const bool track = out.track || parts_->pre_tokenizers.needs_origins;
  const auto segment = [&](uint32_t begin, uint32_t end) {
    if (begin >= end) return;
    Text part(text.substr(begin, end - begin), begin, track);
    encode_segment(part, out);
  };
  uint32_t done = 0;
  for (const AddedTokens::Match& m : matches) {
    segment(done, m.range.begin);
    out.ids.push_back(m.id);
    if (out.track) out.origins.push_back(m.range);
    done = m.range.end;
  }
  segment(done, static_cast<uint32_t>(text.size()));
}

/// A text between added tokens that are found before normalisation.
void HfTokenizer::encode_segment(Text& text, Output& out) const {
  for (const auto& step : parts_->normalizers) step->apply(text);
  std::vector<AddedTokens::Match> matches;
  const bool parse = out.special == SpecialText::Parse;
  parts_->added.find_matches(text.bytes(), AddedTokens::Stage::Normalized, parse, matches);
  if (matches.empty()) return encode_pieces(text, out);
  const auto segment = [&](uint32_t begin, uint32_t end) {
    if (begin >= end) return;
    Text part(text, Range{begin, end});
    encode_pieces(part, out);
  };
  uint32_t done = 0;
  for (const AddedTokens::Match& m : matches) {
    segment(done, m.range.begin);
    out.ids.push_back(m.id);
    if (out.track) out.origins.push_back(text.origin(m.range.begin, m.range.end));
    done = m.range.end;
  }
  segment(done, static_cast<uint32_t>(text.bytes().size()));
}

void HfTokenizer::encode_pieces(Text& text, Output& out) const {
  if (text.empty()) return;
  Pieces pieces{text, {{0, static_cast<uint32_t>(text.bytes().size())}}};
  for (const auto& step : parts_->pre_tokenizers.steps) step->apply(pieces);
  for (const Range& piece : pieces.ranges) encode_piece(text, piece, out);
}

void HfTokenizer::encode_piece(const Text& text, Range piece, Output& out) const {
  const std::string_view bytes = text.bytes().substr(piece.begin, piece.size());
  if (out.track) {
    run_model(bytes, out);
    for (const Token& t : out.scratch.tokens) {
      out.ids.push_back(t.id);
      out.origins.push_back(text.origin(piece.begin + t.range.begin, piece.begin + t.range.end));
    }
    return;
  }
  if (bytes.size() <= WordCache::kLongestWord) return encode_word(bytes, out);
  std::vector<uint32_t>& cuts = out.scratch.cuts;
  cuts.clear();
  parts_->model->add_cuts(bytes, cuts);
  uint32_t begin = 0;
  for (const uint32_t cut : cuts) {
    encode_word(bytes.substr(begin, cut - begin), out);
    begin = cut;
  }
  encode_word(bytes.substr(begin), out);
}

void HfTokenizer::encode_word(std::string_view word, Output& out) const {
  if (word.size() > WordCache::kLongestWord) {
    run_model(word, out);
    for (const Token& t : out.scratch.tokens) out.ids.push_back(t.id);
    return;
  }
  auto& cache = out.scratch.caches[out.special == SpecialText::Parse ? 0 : 1];
  if (!cache) cache = std::make_unique<WordCache>();
  WordCache::Slot& slot = cache->slot(word);
  if (!WordCache::holds(slot, word)) {
    run_model(word, out);
    for (const Token& t : out.scratch.tokens) out.ids.push_back(t.id);
    const size_t count = out.scratch.tokens.size();
    if (count > WordCache::kMostIds) return;
    slot.length = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(count);
    std::copy(word.begin(), word.end(), slot.word);
    for (size_t i = 0; i < count; ++i) slot.ids[i] = out.scratch.tokens[i].id;
    return;
  }
  out.ids.insert(out.ids.end(), slot.ids, slot.ids + slot.count);
}

/// The tokens of a word, in the scratch.
void HfTokenizer::run_model(std::string_view word, Output& out) const {
  static const std::vector<bool> none;
  out.scratch.tokens.clear();
  const bool plain = out.special == SpecialText::Plain;
  parts_->model->encode(word, plain ? parts_->barred : none, out.scratch.tokens);
}

}  // namespace

std::unique_ptr<Tokenizer> make_huggingface(std::string json, std::string config,
                                            const std::string& where) {
  return std::make_unique<HfTokenizer>(std::move(json), std::move(config), where);
}

}  // namespace pivot::hf
