#include "checkpoints/gguf/vocabulary_export.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot {
namespace {

// The character that stands for a byte in byte-level vocabularies (GPT-2): itself where it prints,
// U+0100 and up in the order of bytes where it does not.
std::vector<std::string> byte_alphabet() {
  std::vector<std::string> characters;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    const int code = prints ? byte : next++;
    std::string text;
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else {  // below U+0800
      text.push_back(static_cast<char>(0xC0 | (code >> 6)));
      text.push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
    characters.push_back(std::move(text));
  }
  return characters;
}

// Pivot's byte tokenizer: a byte-level vocabulary without merges.
GgufVocabulary byte_vocabulary() {
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = "gpt-2";
  v.tokens = byte_alphabet();
  v.types.assign(v.tokens.size(), GgufTokenType::Normal);
  for (const char* name : {"<s>", "</s>"}) {
    v.tokens.emplace_back(name);
    v.types.push_back(GgufTokenType::Control);
  }
  v.bos = 256;
  v.eos = 257;
  v.add_bos = true;
  return v;
}

}  // namespace

GgufVocabulary make_gguf_vocabulary(const CheckpointInfo& info) {
  GgufVocabulary v;
  if (info.tokenizer_kind == "bytes") {
    v = byte_vocabulary();
  } else if (info.tokenizer_kind == "sentencepiece") {
    v = read_sentencepiece_vocabulary(info.tokenizer_bytes);
  } else if (info.tokenizer_kind == "huggingface") {
    v = read_huggingface_vocabulary(info);
  } else {
    throw_user("a tokenizer of kind '{}' cannot be written to GGUF", info.tokenizer_kind);
  }
  const auto rows = static_cast<size_t>(info.model.vocab);
  if (v.tokens.size() > rows) {
    throw_user("the tokenizer has {} tokens, the embedding {} rows", v.tokens.size(), rows);
  }
  while (v.tokens.size() < rows) {
    v.tokens.push_back(padding_token(v.tokens.size()));
    v.types.push_back(GgufTokenType::Unused);
    if (v.model != "gpt2") v.scores.push_back(0);
  }
  const bool bytes =
      std::find(v.types.begin(), v.types.end(), GgufTokenType::Byte) != v.types.end();
  if (v.model == "t5" && bytes) {
    log::warning(
        "a unigram vocabulary with byte pieces: Pivot reads it back as it is, but llama.cpp makes "
        "characters without a piece unknown instead of bytes");
  }
  return v;
}

void add_vocabulary(const GgufVocabulary& v, GgufMetadata& metadata) {
  metadata.text("tokenizer.ggml.model", v.model);
  metadata.text("tokenizer.ggml.pre", v.model == "gpt2" ? v.pre : "default");
  metadata.texts("tokenizer.ggml.tokens", v.tokens);
  if (v.model != "gpt2") metadata.f32s("tokenizer.ggml.scores", v.scores);
  std::vector<int32_t> types;
  for (const GgufTokenType type : v.types) types.push_back(static_cast<int32_t>(type));
  metadata.i32s("tokenizer.ggml.token_type", types);
  if (v.model == "gpt2" || !v.merges.empty()) metadata.texts("tokenizer.ggml.merges", v.merges);
  const auto id = [&](const char* name, int32_t value) {
    if (value >= 0) metadata.u32(fmt::format("tokenizer.ggml.{}_token_id", name), value);
  };
  id("bos", v.bos);
  id("eos", v.eos);
  id("unknown", v.unk);
  id("padding", v.pad);
  id("eot", v.eot);
  id("eom", v.eom);
  metadata.flag("tokenizer.ggml.add_bos_token", v.add_bos);
  metadata.flag("tokenizer.ggml.add_eos_token", v.add_eos);
  if (v.model != "gpt2") {
    metadata.flag("tokenizer.ggml.add_space_prefix", v.add_space_prefix);
    metadata.flag("tokenizer.ggml.remove_extra_whitespaces", false);
  }
  if (!v.chat_template.empty()) metadata.text("tokenizer.chat_template", v.chat_template);
}

}  // namespace pivot
