// Tokenizers from and to files.
#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "data/hf/json.h"
#include "data/hf/tokenizer.h"
#include "data/sentencepiece.h"
#include "data/tokenizer.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr const char* kJsonFile = "tokenizer.json";
constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr const char* kTemplateFile = "chat_template.jinja";
constexpr const char* kModelFile = "tokenizer.model";
constexpr const char* kBytesFile = "tokenizer.bytes";

constexpr int32_t kByteBos = 256;
constexpr int32_t kByteEos = 257;

/// Ids 0 to 255 are bytes, 256 begins and 257 ends a document.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(std::string config) : config_(std::move(config)) {}

  int64_t vocab() const override { return 258; }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      check(id);
      if (id < kByteBos) text.push_back(static_cast<char>(id));
    }
    return text;
  }
  int32_t bos() const override { return kByteBos; }
  int32_t eos() const override { return kByteEos; }
  int32_t unk() const override { return -1; }
  std::string piece(int32_t id) const override {
    check(id);
    if (id == kByteBos) return "<s>";
    if (id == kByteEos) return "</s>";
    if (id > 32 && id < 127) return std::string(1, static_cast<char>(id));
    return fmt::format("<0x{:02X}>", id);
  }
  std::string kind() const override { return "bytes"; }
  const std::string& model_bytes() const override { return none_; }
  const std::string& config() const override { return config_; }
  int32_t token_bytes(int32_t id) const override {
    check(id);
    return id < kByteBos ? 1 : 0;
  }

 private:
  void check(int32_t id) const {
    if (id < 0 || id >= vocab()) throw_user("token {} is outside the byte vocabulary of 258", id);
  }
  std::string none_, config_;
};

/// tokenizer_config.json of a directory, "" where there is none. A chat template that has a file of
/// its own is put into it, as transformers does.
std::string read_config(const fs::path& directory) {
  const fs::path path = directory / kConfigFile;
  const fs::path jinja = directory / kTemplateFile;
  std::string config = fs::exists(path) ? read_file(path) : std::string();
  if (!fs::exists(jinja)) return config;
  if (!config.empty())
    hf::read_json_object(config, path);  // strict: what is refused is refused here
  auto json = nlohmann::ordered_json::parse(config.empty() ? "{}" : config);
  const std::string source = read_file(jinja);
  json["chat_template"] = source;
  try {
    return json.dump(2);
  } catch (const nlohmann::json::exception&) {
    throw_user("{} is not UTF-8", jinja.string());
  }
}

std::unique_ptr<Tokenizer> load_directory(const fs::path& directory) {
  const fs::path json = directory / kJsonFile;
  if (fs::exists(json)) {
    return hf::make_huggingface(read_file(json), read_config(directory), json);
  }
  const fs::path model = directory / kModelFile;
  if (fs::exists(model)) {
    return make_sentencepiece(read_file(model), model, read_config(directory));
  }
  if (fs::exists(directory / kBytesFile)) {
    return std::make_unique<ByteTokenizer>(read_config(directory));
  }
  throw_user("tokenizer {}: the directory holds neither {} nor {} nor {}", directory.string(),
             kJsonFile, kModelFile, kBytesFile);
}

}  // namespace

void save_tokenizer(const Tokenizer& tokenizer, const std::string& directory) {
  if (!tokenizer.config().empty()) {
    write_file_atomically(directory + "/" + kConfigFile, tokenizer.config());
  }
  if (tokenizer.kind() == "bytes") {
    write_file_atomically(directory + "/" + kBytesFile, "256 bytes, 256 = bos, 257 = eos\n");
  } else {
    const char* name = tokenizer.kind() == "huggingface" ? kJsonFile : kModelFile;
    write_file_atomically(directory + "/" + name, tokenizer.model_bytes());
  }
}

bool is_tokenizer_file(std::string_view name) {
  return name == kConfigFile || name == kBytesFile || name == kJsonFile || name == kModelFile;
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& kind, std::string model_bytes,
                                          std::string config) {
  if (kind == "bytes") return std::make_unique<ByteTokenizer>(std::move(config));
  if (kind == "sentencepiece") {
    return make_sentencepiece(std::move(model_bytes), "SentencePiece model", std::move(config));
  }
  if (kind == "huggingface") {
    return hf::make_huggingface(std::move(model_bytes), std::move(config), kJsonFile);
  }
  throw_user("tokenizer of kind '{}' is not known (bytes, sentencepiece, huggingface)", kind);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& spec) {
  if (spec.empty()) {
    throw_user(
        "no tokenizer given: 'bytes', a tokenizer.json, a SentencePiece model or a directory");
  }
  if (spec == "bytes") return std::make_unique<ByteTokenizer>("");
  if (!fs::exists(spec)) {
    throw_user("tokenizer {}: no such file or directory ('bytes' needs no file)", spec);
  }
  if (fs::is_directory(spec)) return load_directory(spec);
  const fs::path path = spec;
  if (path.filename() == kBytesFile) return std::make_unique<ByteTokenizer>("");
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (path.extension() == ".json") {
    return hf::make_huggingface(read_file(spec), read_config(directory), spec);
  }
  const bool named =
      path.filename() == kModelFile;  // others do not belong to what lies beside them
  return make_sentencepiece(read_file(spec), spec, named ? read_config(directory) : std::string());
}

}  // namespace pivot
