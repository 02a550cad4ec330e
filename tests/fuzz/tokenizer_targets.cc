// Any ids through the decoders, as a model or a client may produce them.
#include <cstring>

#include "data/sentencepiece.h"
#include "data/tokenizer.h"
#include "data/tokenizer_train.h"
#include "data/utf8.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace pivot::fuzz {
namespace {

// Two bytes an id, a little beyond both ends of the vocabulary.
std::vector<int32_t> ids_of(std::string_view bytes, const Tokenizer& tokenizer) {
  constexpr int64_t kBeyond = 4;
  std::vector<int32_t> ids;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    uint16_t raw = 0;
    std::memcpy(&raw, bytes.data() + i, sizeof(raw));
    ids.push_back(static_cast<int32_t>(raw % (tokenizer.vocab() + 2 * kBeyond) - kBeyond));
  }
  return ids;
}

void decode_all(std::string_view bytes, const Tokenizer& tokenizer) {
  const std::vector<int32_t> ids = ids_of(bytes, tokenizer);
  for (const int32_t id : ids) {
    try {
      PIVOT_CHECK(find_invalid_utf8(tokenizer.piece(id)) == std::string::npos, "piece {}", id);
    } catch (const UserError&) {
      PIVOT_CHECK(id < 0 || id >= tokenizer.vocab(), "id {} refused", id);
    }
  }
  std::string streamed;
  StreamDecoder stream(tokenizer);
  for (const int32_t id : ids) {
    streamed += stream.push(id);
    PIVOT_CHECK(find_invalid_utf8(streamed) == std::string::npos, "the stream is not UTF-8");
  }
  streamed += stream.finish();
  PIVOT_CHECK(find_invalid_utf8(streamed) == std::string::npos, "the stream's end is not UTF-8");
  const std::string whole = tokenizer.decode(ids);
  if (find_invalid_utf8(whole) == std::string::npos) {
    PIVOT_CHECK(streamed == whole, "'{}' streamed, '{}' at once", streamed, whole);
  }
  PIVOT_CHECK(tokenizer.decode(tokenizer.encode(streamed)) == streamed, "text does not survive");
}

std::string train_small_model() {
  std::string text;
  for (const char* line :
       {"the cat sat on the mat", "a cat and a hat", "caf\xc3\xa9 \xf0\x9f\x98\x80"}) {
    for (int i = 0; i < 20; ++i) text += std::string(line) + "\n\n";
  }
  TokenizerTrainOptions options;
  options.documents.input = {put("corpus.txt", text)};
  options.vocab = 275;
  options.out = scratch() / "tokenizer.model";
  train_tokenizer(options);
  return read_file(options.out);
}

}  // namespace

void decode_bytes(std::string_view bytes) {
  static const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("bytes", "");
  decode_all(bytes, *tokenizer);
}

void decode_pieces(std::string_view bytes) {
  static const std::unique_ptr<Tokenizer> tokenizer =
      make_sentencepiece(train_small_model(), "fuzz");
  decode_all(bytes, *tokenizer);
}

std::vector<std::string> id_seeds() {
  return {std::string("H\0e\0l\0l\0o\0", 10), std::string("\xc7\0\xad\0\x04\x01\x05\x01", 8),
          std::string("\xf4\0\xa3\0\x9c\0\x84\0\x02\x01", 10)};
}

}  // namespace pivot::fuzz
