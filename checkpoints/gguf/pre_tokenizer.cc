#include "checkpoints/gguf/pre_tokenizer.h"

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

using Json = nlohmann::ordered_json;

// The expressions of Llama 3 and of Qwen 2 differ in how many digits stay together.
constexpr char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Mistral's "tekken": words end where a capital follows a small letter.
constexpr char kTekken[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Which name means what: llama-vocab.cpp of the llama.cpp project; normalisers and ignore_merges
// from the models' own tokenizer.json (llama.cpp does not normalise).
const std::vector<PreTokenizer>& table() {
  static const std::vector<PreTokenizer> all = {
      {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"},
       .splits = {kLlama3},
       .ignore_merges = IgnoreMerges::Yes,
       .adds_bos = true},
      {.names = {"smaug-bpe", "dbrx"}, .splits = {kLlama3}},
      {.names = {"qwen2", "deepseek-r1-qwen"}, .nfc = true, .splits = {kQwen2}},
      {.names = {"stablelm2"}, .splits = {kQwen2}},
      {.names = {"gpt-2"}, .gpt2_words = true},
      {.names = {"smollm", "starcoder", "refact"}, .digits = true, .gpt2_words = true},
      {.names = {"tekken"}, .splits = {kTekken}, .ignore_merges = IgnoreMerges::Yes},
      // What llama.cpp does where the converter did not know the model: punctuation, words, numbers
      // in threes.
      {.names = {"default"},
       .splits = {R"([\p{P}\$\+<=>\^~\|]+)",
                  R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))",
                  R"(\p{N}+)", R"([0-9][0-9][0-9])"}},
  };
  return all;
}

// A list of steps: the members of a Sequence, one step, or none for null.
std::vector<Json> steps_of(const Json& step, const char* members) {
  if (step.is_null()) return {};
  if (step.value("type", "") != "Sequence") return {step};
  std::vector<Json> all;
  for (const Json& member : step.at(members)) {
    for (Json& inner : steps_of(member, members)) all.push_back(std::move(inner));
  }
  return all;
}

// False for a step that no entry of the table has.
bool add_step(const Json& step, PreTokenizer& pre) {
  const std::string type = step.at("type");
  if (type == "NFC") {
    pre.nfc = true;
    return true;
  }
  if (type == "Digits") {
    pre.digits = true;
    return step.at("individual_digits").get<bool>() && pre.splits.empty();
  }
  if (type == "Split") {
    if (!step.at("pattern").contains("Regex")) return false;
    pre.splits.push_back(step.at("pattern").at("Regex"));
    return step.at("behavior") == "Isolated" && !step.value("invert", false);
  }
  if (type == "ByteLevel") {
    pre.gpt2_words = step.value("use_regex", true);
    return !step.value("add_prefix_space", true);
  }
  return false;
}

bool same_steps(const PreTokenizer& a, const PreTokenizer& b) {
  return a.nfc == b.nfc && a.digits == b.digits && a.splits == b.splits &&
         a.gpt2_words == b.gpt2_words && a.ignore_merges == b.ignore_merges;
}

}  // namespace

const PreTokenizer* find_pre_tokenizer(std::string_view name) {
  for (const PreTokenizer& pre : table()) {
    for (const std::string& known : pre.names) {
      if (known == name) return &pre;
    }
  }
  return nullptr;
}

std::string known_pre_tokenizers() {
  std::string text;
  for (const PreTokenizer& pre : table()) {
    for (const std::string& name : pre.names) text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

std::string print_pre_tokenizer(const PreTokenizer& pre) {
  Json steps = Json::array();
  if (pre.digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  for (const std::string& regex : pre.splits) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", regex}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", pre.gpt2_words}});
  const Json normalizer = pre.nfc ? Json{{"type", "NFC"}} : Json();
  Json all = steps.front();
  if (steps.size() > 1) all = {{"type", "Sequence"}, {"pretokenizers", steps}};
  return fmt::format("\"normalizer\":{},\"pre_tokenizer\":{}", normalizer.dump(), all.dump());
}

const PreTokenizer& recognise_pre_tokenizer(const std::string& normalizer,
                                            const std::string& pre_tokenizer,
                                            IgnoreMerges ignore_merges) {
  PreTokenizer found;
  found.ignore_merges = ignore_merges;
  bool known = true;
  for (const Json& step : steps_of(Json::parse(normalizer), "normalizers")) {
    known &= add_step(step, found);
  }
  for (const Json& step : steps_of(Json::parse(pre_tokenizer), "pretokenizers")) {
    known &= add_step(step, found);
  }
  if (known) {
    for (const PreTokenizer& pre : table()) {
      if (same_steps(found, pre)) return pre;
    }
  }
  throw_user(
      "tokenizer.json: GGUF names pre-tokenizers instead of describing them, and has no name that "
      "Pivot knows for this one (it knows {}): export to a Hugging Face directory instead",
      known_pre_tokenizers());
}

}  // namespace pivot
