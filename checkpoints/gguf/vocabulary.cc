#include "checkpoints/gguf/vocabulary.h"

#include <algorithm>
#include <limits>

#include "checkpoints/gguf/pre_tokenizer.h"
#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot {
namespace {

constexpr char kTokensKey[] = "tokenizer.ggml.tokens";

class VocabularyReader {
 public:
  explicit VocabularyReader(const GgufFile& file) : file_(file) {}

  GgufVocabulary read() {
    const auto model = file_.text("tokenizer.ggml.model");
    if (!model) throw_user("{}: key 'tokenizer.ggml.model' is missing", file_.path());
    if (*model != "gpt2" && *model != "llama" && *model != "t5") {
      throw_user("{}: a vocabulary of kind '{}'; Pivot knows gpt2, llama and t5", file_.path(),
                 shown_name(*model));
    }
    v_.model = *model;
    read_tokens();
    read_scores_and_merges();
    read_ids();
    read_flags();
    v_.chat_template = file_.text("tokenizer.chat_template").value_or("");
    return std::move(v_);
  }

 private:
  void read_tokens() {
    for (const std::string_view token : file_.texts(kTokensKey)) v_.tokens.emplace_back(token);
    if (v_.tokens.empty() || v_.tokens.size() > std::numeric_limits<int32_t>::max()) {
      throw_user("{}: key '{}' is missing or empty", file_.path(), kTokensKey);
    }
    if (!file_.has("tokenizer.ggml.token_type")) {
      throw_user("{}: key 'tokenizer.ggml.token_type' is missing", file_.path());
    }
    const std::vector<int64_t> types = file_.integers("tokenizer.ggml.token_type");
    check_count("tokenizer.ggml.token_type", types.size());
    for (const int64_t type : types) {
      if (type < static_cast<int64_t>(GgufTokenType::Normal) ||
          type > static_cast<int64_t>(GgufTokenType::Byte)) {
        throw_user("{}: token type {} is not one of 1 to 6", file_.path(), type);
      }
      v_.types.push_back(static_cast<GgufTokenType>(type));
    }
  }

  void read_scores_and_merges() {
    for (const std::string_view merge : file_.texts("tokenizer.ggml.merges")) {
      v_.merges.emplace_back(merge);
    }
    if (v_.model == "gpt2") return;
    v_.scores = file_.floats("tokenizer.ggml.scores");
    check_count("tokenizer.ggml.scores", v_.scores.size());
    for (const float score : v_.scores) {
      if (!(std::abs(score) <= std::numeric_limits<float>::max())) {
        throw_user("{}: key 'tokenizer.ggml.scores' holds a score that is not finite",
                   file_.path());
      }
    }
  }

  void check_count(const char* key, size_t count) const {
    if (count == v_.tokens.size()) return;
    throw_user("{}: key '{}' has {} entries for {} tokens", file_.path(), key, count,
               v_.tokens.size());
  }

  int32_t id(const char* name) const {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    const auto value = file_.integer(key);
    if (!value) return -1;
    if (*value < 0 || static_cast<uint64_t>(*value) >= v_.tokens.size()) {
      throw_user("{}: key '{}' is {}, there are {} tokens", file_.path(), key, *value,
                 v_.tokens.size());
    }
    return static_cast<int32_t>(*value);
  }

  void read_ids() {
    v_.bos = id("bos");
    v_.eos = id("eos");
    v_.unk = id("unknown");
    v_.pad = id("padding");
    v_.eot = id("eot");
    v_.eom = id("eom");
  }

  void read_flags() {
    const bool sentencepiece = v_.model != "gpt2";
    bool adds_bos = v_.model == "llama";
    if (!sentencepiece) {
      v_.pre = read_pre();
      adds_bos = find_pre_tokenizer(v_.pre)->adds_bos;
    }
    v_.add_bos = file_.flag("tokenizer.ggml.add_bos_token").value_or(adds_bos) && v_.bos >= 0;
    v_.add_eos =
        file_.flag("tokenizer.ggml.add_eos_token").value_or(v_.model == "t5") && v_.eos >= 0;
    v_.add_space_prefix =
        sentencepiece && file_.flag("tokenizer.ggml.add_space_prefix").value_or(true);
    if (sentencepiece && file_.flag("tokenizer.ggml.remove_extra_whitespaces").value_or(false)) {
      throw_user("{}: a vocabulary that removes extra whitespace is not supported", file_.path());
    }
    if (sentencepiece && file_.has("tokenizer.ggml.precompiled_charsmap")) {
      throw_user("{}: a vocabulary that normalises text by a compiled table is not supported",
                 file_.path());
    }
  }

  std::string read_pre() const {
    const auto name = file_.text("tokenizer.ggml.pre");
    if (!name) {
      log::warning(
          "{}: does not say how text is cut into words ('tokenizer.ggml.pre'): an old file; the "
          "default is used, as llama.cpp does",
          file_.path());
      return "default";
    }
    if (find_pre_tokenizer(*name) == nullptr) {
      throw_user("{}: text is cut into words by '{}' ('tokenizer.ggml.pre'); Pivot knows {}",
                 file_.path(), shown_name(*name), known_pre_tokenizers());
    }
    return std::string(*name);
  }

  const GgufFile& file_;
  GgufVocabulary v_;
};

}  // namespace

GgufVocabulary read_gguf_vocabulary(const GgufFile& file) {
  return VocabularyReader(file).read();
}

std::string padding_token(size_t id) {
  return fmt::format("[PAD{}]", id);
}

}  // namespace pivot
