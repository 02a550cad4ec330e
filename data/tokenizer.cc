#include "data/tokenizer.h"

#include <algorithm>

#include "data/utf8.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {

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
