// A SentencePiece model file (protobuf, sentencepiece_model.proto) -> GGUF vocabulary.
#include <cstring>

#include "checkpoints/gguf/vocabulary_export.h"
#include "src/base/check.h"

namespace pivot {
namespace {

[[noreturn]] void damaged() {
  throw_user("the tokenizer is not a SentencePiece model");
}

// One protobuf field after the other.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  bool next() {
    if (bytes_.empty()) return false;
    const uint64_t tag = varint();
    number = tag >> 3;
    switch (tag & 7) {
      case 0:
        value = varint();
        return true;
      case 1:
        text = take(8);
        return true;
      case 2:
        text = take(varint());
        return true;
      case 5:
        text = take(4);
        return true;
      default:
        damaged();
    }
  }

  uint64_t number = 0;
  uint64_t value = 0;     // of a varint
  std::string_view text;  // of the others

 private:
  std::string_view take(uint64_t length) {
    if (length > bytes_.size()) damaged();
    const std::string_view part = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return part;
  }
  uint64_t varint() {
    uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      result |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return result;
    }
    damaged();
  }

  std::string_view bytes_;
};

// ModelProto: 1 pieces, 2 trainer_spec, 3 normalizer_spec.
class ModelReader {
 public:
  GgufVocabulary read(std::string_view model) {
    v_.unk = 0;  // the format's defaults
    v_.bos = 1;
    v_.eos = 2;
    v_.add_space_prefix = true;
    for (Fields f(model); f.next();) {
      if (f.number == 1) read_piece(f.text);
      if (f.number == 2) read_trainer(f.text);
      if (f.number == 3) read_normalizer(f.text);
    }
    if (v_.tokens.empty()) damaged();
    if (type_ != 1 && type_ != 2) {
      throw_user("a SentencePiece model that is neither unigram nor BPE cannot be written to GGUF");
    }
    if (remove_extra_whitespaces_ || !escape_whitespaces_ || normalises_) {
      throw_user(
          "a SentencePiece model that normalises text or removes spaces cannot be written to GGUF");
    }
    v_.model = type_ == 1 ? "t5" : "llama";
    for (const int32_t id : {v_.unk, v_.bos, v_.eos, v_.pad}) {
      if (id >= static_cast<int32_t>(v_.tokens.size())) damaged();
    }
    v_.add_bos = v_.bos >= 0;
    return std::move(v_);
  }

 private:
  // SentencePiece: 1 piece, 2 score, 3 type, whose numbers are GGUF's.
  void read_piece(std::string_view bytes) {
    std::string piece;
    float score = 0;
    uint64_t type = 1;
    for (Fields f(bytes); f.next();) {
      if (f.number == 1) piece = f.text;
      if (f.number == 2 && f.text.size() == sizeof(score)) {
        std::memcpy(&score, f.text.data(), sizeof(score));
      }
      if (f.number == 3) type = f.value;
    }
    if (type < 1 || type > 6) damaged();
    v_.tokens.push_back(std::move(piece));
    v_.scores.push_back(score);
    v_.types.push_back(static_cast<GgufTokenType>(type));
  }

  // TrainerSpec: 3 model_type, 40 to 43 the ids of unk, bos, eos and pad, -1 for none.
  void read_trainer(std::string_view bytes) {
    for (Fields f(bytes); f.next();) {
      const auto id = static_cast<int32_t>(f.value);
      if (f.number == 3) type_ = f.value;
      if (f.number == 40) v_.unk = id;
      if (f.number == 41) v_.bos = id;
      if (f.number == 42) v_.eos = id;
      if (f.number == 43) v_.pad = id;
    }
  }

  // NormalizerSpec: 2 precompiled_charsmap, 3 add_dummy_prefix, 4 and 5 treatment of spaces.
  void read_normalizer(std::string_view bytes) {
    for (Fields f(bytes); f.next();) {
      if (f.number == 2) normalises_ = !f.text.empty();
      if (f.number == 3) v_.add_space_prefix = f.value != 0;
      if (f.number == 4) remove_extra_whitespaces_ = f.value != 0;
      if (f.number == 5) escape_whitespaces_ = f.value != 0;
    }
  }

  GgufVocabulary v_;
  uint64_t type_ = 1;
  bool remove_extra_whitespaces_ = true;
  bool escape_whitespaces_ = true;
  bool normalises_ = false;
};

}  // namespace

GgufVocabulary read_sentencepiece_vocabulary(std::string_view model) {
  return ModelReader().read(model);
}

}  // namespace pivot
