// GGUF files, and tokenizers on their way into one.
#include <cmath>

#include "checkpoints/gguf/gguf_source.h"
#include "checkpoints/gguf/vocabulary_export.h"
#include "src/base/check.h"
#include "tests/checkpoints/gguf_build.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"

namespace pivot::fuzz {

void read_gguf(std::string_view bytes) {
  const auto source = open_gguf(put("input.gguf", bytes));
  // Every weight is in the file, at best two to a byte.
  const int64_t count = parameter_count(source->info().model);
  PIVOT_CHECK(count <= static_cast<int64_t>(2 * bytes.size()), "{} weights came through", count);
  for (const ParamInfo& param : list_params(source->info().model)) {
    std::vector<float> values(static_cast<size_t>(param.shape.count()));
    source->read(param, 0, param.shape[0], values.data());
    for (const float x : values) PIVOT_CHECK(std::isfinite(x), "{} came through", x);
  }
  // A vocabulary that was taken can be written again.
  const GgufVocabulary vocabulary = make_gguf_vocabulary(source->info());
  PIVOT_CHECK(static_cast<int64_t>(vocabulary.tokens.size()) == source->info().model.vocab,
              "{} tokens", vocabulary.tokens.size());
}

std::vector<std::string> gguf_seeds() {
  std::vector<std::string> seeds;
  for (const char* architecture : {"llama", "qwen2", "qwen3"}) {
    seeds.push_back(test::tiny_gguf(architecture).bytes());
  }
  test::GgufBytes pieces = test::tiny_gguf();
  pieces.text("tokenizer.ggml.model", "llama");
  pieces.f32s("tokenizer.ggml.scores", {0, -1, -2, -3, -4, -5, -6, -7});
  pieces.erase("tokenizer.ggml.merges");
  pieces.text("llama.rope.scaling.type", "linear");
  pieces.f32("llama.rope.scaling.factor", 2);
  seeds.push_back(pieces.bytes());
  return seeds;
}

void export_tokenizer(std::string_view bytes) {
  CheckpointInfo info;
  info.model.vocab = 1 << 12;
  info.tokenizer_bytes = std::string(bytes);
  info.tokenizer_kind = bytes.starts_with('{') ? "huggingface" : "sentencepiece";
  const GgufVocabulary v = make_gguf_vocabulary(info);
  PIVOT_CHECK(v.types.size() == v.tokens.size(), "{} types", v.types.size());
  PIVOT_CHECK(v.model == "gpt2" || v.scores.size() == v.tokens.size(), "{} scores",
              v.scores.size());
  GgufMetadata metadata;
  add_vocabulary(v, metadata);
  print_tokenizer_json(v, "input");
}

std::vector<std::string> export_seeds() {
  const std::string path = put("seed.gguf", test::tiny_gguf().bytes());
  std::vector<std::string> seeds = {open_gguf(path)->info().tokenizer_bytes};
  put("seed.gguf", gguf_seeds().back());
  seeds.push_back(open_gguf(path)->info().tokenizer_bytes);
  // Two pieces of a SentencePiece model, BPE, that keeps spaces.
  seeds.emplace_back(
      "\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02\x0a\x08\x0a\x01"
      "a\x15\x00\x00\x80\x3f\x12\x02\x18\x02\x1a\x04\x18\x00\x20\x00",
      36);
  return seeds;
}

}  // namespace pivot::fuzz
