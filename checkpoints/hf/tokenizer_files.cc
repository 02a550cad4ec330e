#include "checkpoints/hf/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoints/hf/json.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestConfig = size_t{16} << 20;  // Gemma's has 1.2 MB

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

// The character that byte-level BPE writes for a byte: printable ones stand for themselves, the
// others for U+0100 and up, in order.
std::string byte_character(int byte) {
  const auto printable = [](int b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
  };
  int code = byte;
  if (!printable(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// Pivot's byte tokenizer: ids 0 to 255 are bytes, 256 begins and 257 ends a document.
std::string print_byte_tokenizer() {
  const auto special = [](int id, const char* text) {
    return Json{{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  const Json level = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", false}};
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[byte_character(byte)] = byte;
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", false},
                      {"vocab", vocab},
                      {"merges", Json::array()}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", Json::array({special(256, "<s>"), special(257, "</s>")})},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", level},
                     {"post_processor", nullptr},
                     {"decoder", level},
                     {"model", model}};
  return json.dump(1) + "\n";
}

std::string print_tokenizer_config(const CheckpointInfo& info, const SpecialTexts& special) {
  Json json;
  json["tokenizer_class"] =
      info.tokenizer_kind == "sentencepiece" ? "LlamaTokenizer" : "PreTrainedTokenizerFast";
  const auto set = [&](const char* key, const std::string& text) {
    json[key] = text.empty() ? Json(nullptr) : Json(text);
  };
  set("bos_token", special.bos);
  set("eos_token", special.eos);
  set("unk_token", special.unk);
  json["add_bos_token"] = false;
  json["add_eos_token"] = false;
  json["clean_up_tokenization_spaces"] = false;
  json["model_max_length"] = info.model.context;
  // SentencePiece's own encoding of every piece of text.
  if (info.tokenizer_kind == "sentencepiece") json["legacy"] = true;
  return json.dump(2) + "\n";
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

void use_tokenizer(CheckpointInfo& info, const char* kind, std::string bytes) {
  info.tokenizer_kind = kind;
  info.tokenizer_bytes = std::move(bytes);
  info.tokenizer_hash = tokenizer_hash(info.tokenizer_kind, info.tokenizer_bytes);
}

}  // namespace

void read_hf_tokenizer(const std::string& directory, int64_t vocab, CheckpointInfo& info) {
  const std::string json = directory + "/" + kHfTokenizerFile;
  const std::string model = directory + "/" + kSentencePieceFile;
  if (fs::exists(json)) {
    std::string bytes = read_file(json);
    IdCounter counter(json);
    Json::sax_parse(bytes.begin(), bytes.end(), &counter);
    if (counter.ids() > vocab) {
      throw_user("{}: {} tokens, config.json says vocab_size {}: they do not belong together", json,
                 counter.ids(), vocab);
    }
    const bool is_bytes = bytes == print_byte_tokenizer();
    use_tokenizer(info, is_bytes ? "bytes" : "huggingface", is_bytes ? "" : std::move(bytes));
  } else if (fs::exists(model)) {
    std::string bytes = read_file(model);
    constexpr char kFirstField = 0x0A;  // a list of pieces; Llama 3's file of this name is text
    if (bytes.empty() || bytes[0] != kFirstField) {
      throw_user("{} is no SentencePiece model, and there is no {}: save one with transformers",
                 model, kHfTokenizerFile);
    }
    use_tokenizer(info, "sentencepiece", std::move(bytes));
  } else if (fs::exists(directory + "/vocab.json") || fs::exists(directory + "/tekken.json")) {
    throw_user(
        "{} has neither {} nor {}: save one with transformers' "
        "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
        directory, kHfTokenizerFile, kSentencePieceFile);
  }
  std::string config = read_config(directory);
  const bool ours =
      info.tokenizer_kind == "bytes" && config == print_tokenizer_config(info, {"<s>", "</s>", ""});
  if (!config.empty() && !ours) info.companions[kTokenizerConfigFile] = std::move(config);
}

void write_hf_tokenizer(const std::string& directory, const CheckpointInfo& info,
                        const SpecialTexts& special) {
  const std::string& kind = info.tokenizer_kind;
  if (kind == "huggingface") {
    write_file_atomically(directory + "/" + kHfTokenizerFile, info.tokenizer_bytes);
  } else if (kind == "sentencepiece") {
    write_file_atomically(directory + "/" + kSentencePieceFile, info.tokenizer_bytes);
  } else if (kind == "bytes") {
    write_file_atomically(directory + "/" + kHfTokenizerFile, print_byte_tokenizer());
  } else {
    throw_user("tokenizer of kind '{}' has no Hugging Face file: use --without-tokenizer", kind);
  }
  const std::string config = info.companion(kTokenizerConfigFile);
  write_file_atomically(directory + "/" + kTokenizerConfigFile,
                        config.empty() ? print_tokenizer_config(info, special) : config);
}

}  // namespace pivot
