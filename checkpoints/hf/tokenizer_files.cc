#include "checkpoints/hf/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoints/gguf/vocabulary.h"
#include "checkpoints/gguf/vocabulary_export.h"
#include "checkpoints/hf/json.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestConfig = size_t{16} << 20;  // Gemma's has 1.2 MB
constexpr int64_t kByteVocabulary = 258;             // bytes, one to begin and one to end a text
constexpr char kPlainConfig[] = "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n";

// The ids that a tokenizer.json names, without a tree of its megabytes: numbers at model.vocab.*,
// elements of model.vocab[] and added_tokens[].id.
class IdCounter : public nlohmann::json_sax<Json> {
 public:
  explicit IdCounter(const std::string& where) : where_(where) {}
  int64_t ids() const { return ids_; }

  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return true; }
  bool number_integer(number_integer_t /*value*/) override { return true; }
  bool string(string_t& /*value*/) override { return true; }
  bool binary(binary_t& /*value*/) override { return true; }
  bool number_unsigned(number_unsigned_t value) override {
    const bool vocab = keys_.size() == 3 && keys_[0] == "model" && keys_[1] == "vocab";
    const bool added = keys_.size() == 3 && keys_[0] == "added_tokens" && keys_[2] == "id";
    if (!vocab && !added) return true;
    constexpr uint64_t kLargest = uint64_t{1} << 31;
    if (value >= kLargest) throw_user("{}: token id {} is absurd", where_, value);
    ids_ = std::max(ids_, static_cast<int64_t>(value) + 1);
    return true;
  }
  bool key(string_t& value) override {
    keys_.back() = value;
    return true;
  }
  bool start_object(std::size_t /*elements*/) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t /*elements*/) override {
    // Unigram: a list of [piece, score] in the order of their ids.
    if (keys_.size() == 3 && keys_[0] == "model" && keys_[1] == "vocab")
      ids_ = std::max(ids_, ++pieces_);
    return enter();
  }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    throw_user("{} is not valid JSON at byte {}: copy it again", where_, position);
  }

 private:
  bool enter() {
    constexpr size_t kDeepest = 64;
    if (keys_.size() == kDeepest) throw_user("{}: nested more than {} deep", where_, kDeepest);
    keys_.emplace_back();
    return true;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  const std::string& where_;
  std::vector<std::string> keys_;  // of the value at hand, outermost first; "" inside lists
  int64_t ids_ = 0, pieces_ = 0;
};

// The tokenizer.json that gives the ids of Pivot's bytes or of a SentencePiece model.
GgufVocabulary vocabulary(const std::string& kind, const std::string& bytes) {
  if (kind == "sentencepiece") return read_sentencepiece_vocabulary(bytes);
  CheckpointInfo info;
  info.tokenizer_kind = kind;
  info.model.vocab = kByteVocabulary;
  return make_gguf_vocabulary(info);
}

constexpr char kWhere[] = "the tokenizer";

// Whether tokenizer.json only stands for another kind of tokenizer, as write_hf_tokenizer() wrote
// it.
bool stands_for(const std::string& kind, const std::string& bytes, const std::string& json) {
  try {
    return json == print_tokenizer_json(vocabulary(kind, bytes), kWhere);
  } catch (const UserError&) {
    return false;  // what cannot be written was not
  }
}

std::string read_config(const std::string& directory) {
  const std::string path = directory + "/" + kTokenizerConfigFile;
  const std::string chat = directory + "/" + kChatTemplateFile;
  const std::string text = fs::exists(path) ? read_file(path) : "";
  Json json = text.empty() ? Json::object() : parse_json_object(text, kLongestConfig, path);
  if (!fs::exists(chat)) return text;
  json["chat_template"] = read_file(chat);
  try {
    return json.dump(2) + "\n";
  } catch (const Json::exception&) {
    throw_user("{} is not UTF-8", chat);
  }
}

// A configuration that write_hf_tokenizer() made up is none of the model's.
bool is_generated(const std::string& config, const CheckpointInfo& info) {
  if (info.tokenizer_kind == "huggingface") return config == kPlainConfig;
  if (info.tokenizer_kind.empty()) return false;
  try {
    return config ==
           print_tokenizer_config(vocabulary(info.tokenizer_kind, info.tokenizer_bytes), kWhere);
  } catch (const UserError&) {
    return false;
  }
}

int64_t count_ids(const std::string& bytes, const std::string& where) {
  IdCounter counter(where);
  Json::sax_parse(bytes.begin(), bytes.end(), &counter);
  return counter.ids();
}

void use_tokenizer(CheckpointInfo& info, const char* kind, std::string bytes) {
  info.tokenizer_kind = kind;
  info.tokenizer_bytes = std::move(bytes);
  info.tokenizer_hash = tokenizer_hash(info.tokenizer_kind, info.tokenizer_bytes);
}

}  // namespace

void read_hf_tokenizer(const std::string& directory, int64_t vocab, CheckpointInfo& info) {
  const std::string json = directory + "/" + kHfTokenizerFile;
  const std::string model = directory + "/" + kSentencePieceFile;
  const std::string pieces = fs::exists(model) ? read_file(model) : "";
  if (fs::exists(json)) {
    std::string bytes = read_file(json);
    const int64_t ids = count_ids(bytes, json);
    if (ids > vocab) {
      throw_user("{}: {} tokens, config.json says vocab_size {}: they do not belong together", json,
                 ids, vocab);
    }
    if (ids == kByteVocabulary && stands_for("bytes", "", bytes)) {
      use_tokenizer(info, "bytes", "");
    } else if (!pieces.empty() && stands_for("sentencepiece", pieces, bytes)) {
      use_tokenizer(info, "sentencepiece", pieces);
    } else {
      use_tokenizer(info, "huggingface", std::move(bytes));
    }
  } else if (!pieces.empty()) {
    constexpr char kFirstField = 0x0A;  // a list of pieces; Llama 3's file of this name is text
    if (pieces[0] != kFirstField) {
      throw_user("{} is no SentencePiece model, and there is no {}: save one with transformers",
                 model, kHfTokenizerFile);
    }
    use_tokenizer(info, "sentencepiece", pieces);
  } else if (fs::exists(directory + "/vocab.json") || fs::exists(directory + "/tekken.json")) {
    throw_user(
        "{} has neither {} nor {}: save one with transformers' "
        "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
        directory, kHfTokenizerFile, kSentencePieceFile);
  }
  std::string config = read_config(directory);
  if (config.empty() || is_generated(config, info)) return;
  info.companions[kTokenizerConfigFile] = std::move(config);
}

void write_hf_tokenizer(const std::string& directory, const CheckpointInfo& info) {
  const std::string& kind = info.tokenizer_kind;
  std::string config = info.companion(kTokenizerConfigFile);
  if (kind == "huggingface") {
    write_file_atomically(directory + "/" + kHfTokenizerFile, info.tokenizer_bytes);
  } else if (kind == "sentencepiece" || kind == "bytes") {
    const GgufVocabulary tokens = vocabulary(kind, info.tokenizer_bytes);
    write_file_atomically(directory + "/" + kHfTokenizerFile, print_tokenizer_json(tokens, kWhere));
    if (kind == "sentencepiece") {
      write_file_atomically(directory + "/" + kSentencePieceFile, info.tokenizer_bytes);
    }
    if (config.empty()) config = print_tokenizer_config(tokens, kWhere);
  } else {
    throw_user("this model has no tokenizer: use --without-tokenizer");
  }
  if (config.empty()) config = kPlainConfig;
  write_file_atomically(directory + "/" + kTokenizerConfigFile, config);
}

}  // namespace pivot
