#include "data/sentencepiece_proto.h"

#include <cstdint>

#include "src/base/check.h"

namespace pivot {
namespace {

/// One protobuf field after the other: number, and its value as bytes or as a varint.
class FieldReader {
 public:
  FieldReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  bool next() {
    if (bytes_.empty()) return false;
    const uint64_t tag = varint();
    number = tag >> 3;
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        text = take(8);
        break;
      case 2:
        text = take(varint());
        break;
      case 5:
        text = take(4);
        break;
      default:
        fail();
    }
    return true;
  }

  uint64_t number = 0;
  uint64_t value = 0;
  std::string_view text;

 private:
  [[noreturn]] void fail() const { throw_user("{} is not a SentencePiece model", where_); }
  std::string_view take(uint64_t length) {
    if (length > bytes_.size()) fail();
    const std::string_view part = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return part;
  }
  uint64_t varint() {
    uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(take(1)[0]);
      result |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return result;
    }
    fail();
  }

  std::string_view bytes_;
  const std::string& where_;
};

constexpr uint64_t kTrainerSpec = 2;
constexpr uint64_t kNormalizerSpec = 3;
constexpr uint64_t kModelPrefix = 2;
constexpr uint64_t kAddDummyPrefix = 3;
constexpr uint64_t kRemoveExtraWhitespaces = 4;
constexpr uint64_t kEscapeWhitespaces = 5;

}  // namespace

SentencePieceFacts read_sentencepiece_facts(std::string_view model, const std::string& where) {
  SentencePieceFacts facts;
  FieldReader outer(model, where);
  while (outer.next()) {
    if (outer.number != kTrainerSpec && outer.number != kNormalizerSpec) continue;
    FieldReader inner(outer.text, where);
    while (inner.next()) {
      if (outer.number == kTrainerSpec) {
        if (inner.number == kModelPrefix) facts.model_prefix = std::string(inner.text);
      } else if (inner.number == kAddDummyPrefix) {
        facts.add_dummy_prefix = inner.value != 0;
      } else if (inner.number == kRemoveExtraWhitespaces) {
        facts.remove_extra_whitespaces = inner.value != 0;
      } else if (inner.number == kEscapeWhitespaces) {
        facts.escape_whitespaces = inner.value != 0;
      }
    }
  }
  return facts;
}

}  // namespace pivot
