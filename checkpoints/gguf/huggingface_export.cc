// A Hugging Face tokenizer.json and its companions -> GGUF vocabulary.
#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

#include "checkpoints/gguf/pre_tokenizer.h"
#include "checkpoints/gguf/vocabulary_export.h"
#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot {
namespace {

using Json = nlohmann::json;

constexpr char kWhere[] = "tokenizer.json";
constexpr char kSpaceSign[] = "\xE2\x96\x81";
// Ids are rows of an embedding; a damaged file must not ask for more memory than a model has.
constexpr int64_t kMostTokens = int64_t{1} << 24;

[[noreturn]] void no_name_for(const char* what) {
  throw_user("{}: {} cannot be written to GGUF: export to a Hugging Face directory instead", kWhere,
             what);
}

bool is_byte_piece(const std::string& text) {
  return text.size() == 6 && text.starts_with("<0x") && text.back() == '>';
}

class HuggingFaceReader {
 public:
  explicit HuggingFaceReader(const CheckpointInfo& info)
      : info_(info), json_(Json::parse(info.tokenizer_bytes)) {}

  GgufVocabulary read() {
    const Json& model = json_.at("model");
    const std::string type = model.value("type", "BPE");
    if (type == "Unigram") {
      read_unigram(model);
    } else if (type != "BPE") {
      no_name_for("this kind of model");
    } else if (has_byte_level()) {
      v_.model = "gpt2";
      v_.pre = recognise_pre_tokenizer(
                   json_.value("normalizer", Json()).dump(), json_.at("pre_tokenizer").dump(),
                   model.value("ignore_merges", false) ? IgnoreMerges::Yes : IgnoreMerges::No)
                   .names.front();
      read_vocab(model);
      v_.merges = merges(model);
    } else {
      read_sentencepiece(model);
    }
    read_added();
    name_unknown(model);
    fill_gaps();
    if (v_.model == "llama") score_merges(model);
    read_config();
    read_generation();
    read_template();
    return std::move(v_);
  }

 private:
  static std::vector<Json> steps(const Json& step, const char* members) {
    if (step.is_null()) return {};
    if (step.at("type") != "Sequence") return {step};
    return step.at(members).get<std::vector<Json>>();
  }

  bool has_byte_level() const {
    for (const Json& step : steps(json_.value("pre_tokenizer", Json()), "pretokenizers")) {
      if (step.at("type") == "ByteLevel") return true;
    }
    return false;
  }

  void set_token(int64_t id, const std::string& text, GgufTokenType type) {
    if (id < 0 || id >= kMostTokens) {
      throw_user("{}: token id {} is not between 0 and {}", kWhere, id, kMostTokens);
    }
    const auto at = static_cast<size_t>(id);
    if (v_.tokens.size() <= at) {
      v_.tokens.resize(at + 1);
      v_.types.resize(at + 1, GgufTokenType::Unused);
    }
    v_.tokens[at] = text;
    v_.types[at] = type;
  }

  void read_vocab(const Json& model) {
    for (const auto& [text, id] : model.at("vocab").items()) {
      const bool byte = v_.model != "gpt2" && is_byte_piece(text);
      set_token(id.get<int64_t>(), text, byte ? GgufTokenType::Byte : GgufTokenType::Normal);
    }
  }

  static std::vector<std::string> merges(const Json& model) {
    std::vector<std::string> all;
    for (const Json& merge : model.at("merges")) {
      const std::string text =
          merge.is_string() ? merge.get<std::string>()
                            : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>();
      if (std::count(text.begin(), text.end(), ' ') != 1) no_name_for("a merge with spaces");
      all.push_back(text);
    }
    return all;
  }

  void read_unigram(const Json& model) {
    v_.model = "t5";
    read_spaces();
    int64_t id = 0;
    for (const Json& entry : model.at("vocab")) {
      const auto text = entry.at(0).get<std::string>();
      const bool byte = model.value("byte_fallback", false) && is_byte_piece(text);
      set_token(id++, text, byte ? GgufTokenType::Byte : GgufTokenType::Normal);
      v_.scores.push_back(entry.at(1).get<float>());
    }
  }

  void read_sentencepiece(const Json& model) {
    v_.model = "llama";
    read_spaces();
    read_vocab(model);
  }

  // The ways to say: spaces become the space sign, with or without one in front.
  void read_spaces() {
    bool replaced = false;
    for (const Json& step : steps(json_.value("normalizer", Json()), "normalizers")) {
      const std::string type = step.at("type");
      if (type == "Prepend" && step.at("prepend") == kSpaceSign) {
        v_.add_space_prefix = true;
      } else if (type == "Replace" && step.at("content") == kSpaceSign &&
                 step.at("pattern") == Json{{"String", " "}}) {
        replaced = true;
      } else {
        no_name_for("its normalizer");
      }
    }
    for (const Json& step : steps(json_.value("pre_tokenizer", Json()), "pretokenizers")) {
      if (step.at("type") != "Metaspace" || step.value("split", true) ||
          step.value("replacement", kSpaceSign) != kSpaceSign || replaced) {
        no_name_for("its pre_tokenizer");
      }
      replaced = true;
      v_.add_space_prefix = step.value("prepend_scheme", "always") != "never";
    }
    if (!replaced) no_name_for("its treatment of spaces");
  }

  void read_added() {
    for (const Json& added : json_.value("added_tokens", Json::array())) {
      set_token(
          added.at("id").get<int64_t>(), added.at("content").get<std::string>(),
          added.value("special", false) ? GgufTokenType::Control : GgufTokenType::UserDefined);
    }
  }

  void name_unknown(const Json& model) {
    if (model.contains("unk_id") && model.at("unk_id").is_number()) {
      v_.unk = model.at("unk_id").get<int32_t>();
    } else if (model.contains("unk_token") && model.at("unk_token").is_string()) {
      v_.unk = find(model.at("unk_token").get<std::string>());
    }
    if (v_.unk >= static_cast<int32_t>(v_.tokens.size())) {
      throw_user("{}: unk_id {} is not a token", kWhere, v_.unk);
    }
    if (v_.unk >= 0 && v_.model != "gpt2") {
      v_.types[static_cast<size_t>(v_.unk)] = GgufTokenType::Unknown;
    }
  }

  void fill_gaps() {
    for (size_t i = 0; i < v_.tokens.size(); ++i) {
      if (v_.types[i] == GgufTokenType::Unused) v_.tokens[i] = padding_token(i);
    }
    if (v_.model == "t5") v_.scores.resize(v_.tokens.size(), 0);
  }

  // SentencePiece has scores of pieces instead of ranks of merges: a piece's is its first merge's.
  void score_merges(const Json& model) {
    const std::vector<std::string> listed = merges(model);
    std::map<std::string, float, std::less<>> rank;
    for (size_t i = 0; i < listed.size(); ++i) {
      std::string piece = listed[i];
      piece.erase(piece.find(' '), 1);
      rank.emplace(std::move(piece), static_cast<float>(i));
    }
    const auto last = static_cast<float>(listed.size());  // of characters, which nothing makes
    for (size_t i = 0; i < v_.tokens.size(); ++i) {
      const auto found = rank.find(v_.tokens[i]);
      const bool normal = v_.types[i] == GgufTokenType::Normal;
      v_.scores.push_back(!normal ? 0 : found == rank.end() ? -last : -found->second);
    }
    if (sentencepiece_merges(v_, kWhere) == listed) return;
    log::warning(
        "{}: its merges are not those of a SentencePiece model; they are written beside the "
        "scores, but llama.cpp does not read them and may split some words otherwise",
        kWhere);
    v_.merges = listed;
  }

  int32_t find(std::string_view text) const {
    const auto found = std::find(v_.tokens.begin(), v_.tokens.end(), text);
    return found == v_.tokens.end() ? -1 : static_cast<int32_t>(found - v_.tokens.begin());
  }

  std::optional<Json> companion(const char* name) const {
    const auto found = info_.companions.find(name);
    if (found == info_.companions.end() || found->second.empty()) return std::nullopt;
    return Json::parse(found->second);
  }

  void read_config() {
    const std::optional<Json> config = companion(kTokenizerConfigFile);
    if (!config) return;
    const auto named = [&](const char* name) {
      const Json token = config->value(name, Json());
      if (token.is_string()) return find(token.get<std::string>());
      if (token.is_object()) return find(token.at("content").get<std::string>());
      return -1;
    };
    v_.bos = named("bos_token");
    v_.eos = named("eos_token");
    v_.pad = named("pad_token");
    if (v_.unk < 0) v_.unk = named("unk_token");
    const auto set = [&](const char* name) {
      const Json value = config->value(name, Json());
      return value.is_boolean() && value.get<bool>();
    };
    v_.add_bos = set("add_bos_token") && v_.bos >= 0;
    v_.add_eos = set("add_eos_token") && v_.eos >= 0;
    const Json chat = config->value("chat_template", Json());
    if (chat.is_string()) v_.chat_template = chat.get<std::string>();
    if (chat.is_array()) {  // several by name
      for (const Json& entry : chat) {
        if (entry.at("name") == "default") v_.chat_template = entry.at("template");
      }
    }
  }

  // The other ids that end what is generated.
  void read_generation() {
    const std::optional<Json> config = companion(kGenerationConfigFile);
    if (!config) return;
    const Json eos = config->value("eos_token_id", Json());
    std::vector<int32_t> ends;
    if (eos.is_number_integer()) ends = {eos.get<int32_t>()};
    if (eos.is_array()) ends = eos.get<std::vector<int32_t>>();
    for (const int32_t id : ends) {
      if (id < 0 || id >= static_cast<int32_t>(v_.tokens.size()) || id == v_.eos) continue;
      if (v_.eos < 0) {
        v_.eos = id;
      } else if (v_.eot < 0) {
        v_.eot = id;
      } else if (v_.eom < 0) {
        v_.eom = id;
      } else {
        log::warning("GGUF has room for three ids that end a text; {} is left out", id);
      }
    }
  }

  // What the tokenizer itself puts around a text goes before what its configuration says.
  void read_template() {
    for (const Json& step : steps(json_.value("post_processor", Json()), "processors")) {
      if (step.at("type") != "TemplateProcessing") continue;
      const Json& single = step.at("single");
      const auto special = [&](const Json& part) {
        if (!part.contains("SpecialToken")) return -1;
        return find(part.at("SpecialToken").at("id").get<std::string>());
      };
      v_.add_bos = v_.add_eos = false;
      if (single.empty()) continue;
      const int32_t first = special(single.front());
      const int32_t last = special(single.back());
      if (first >= 0) v_.bos = first;
      if (last >= 0 && last != v_.eos) no_name_for("a token behind texts that does not end them");
      v_.add_bos = first >= 0;
      v_.add_eos = last >= 0;
    }
  }

  const CheckpointInfo& info_;
  Json json_;
  GgufVocabulary v_;
};

}  // namespace

GgufVocabulary read_huggingface_vocabulary(const CheckpointInfo& info) {
  try {
    return HuggingFaceReader(info).read();
  } catch (const Json::exception& error) {
    throw_user("{} or a companion of it is damaged: {}", kWhere, error.what());
  }
}

}  // namespace pivot
