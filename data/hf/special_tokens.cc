#include "data/hf/special_tokens.h"

#include <initializer_list>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot::hf {
namespace {

using Names = std::initializer_list<const char*>;

// Where no configuration says it; the first that is a token.
const Names kBosNames = {"<|begin_of_text|>", "<s>", "<bos>", "<|startoftext|>", "[BOS]"};
const Names kEosNames = {"<|end_of_text|>", "</s>",       "<eos>",
                         "<|endoftext|>",   "<|im_end|>", "[EOS]"};

/// The token that `key` names; nullopt where the configuration does not mention it.
std::optional<int32_t> named_token(const Fields& config, const char* key, const FindToken& find) {
  const nlohmann::json& value = config.get(key);
  if (value.is_null()) return std::nullopt;
  const std::string name =
      value.is_object() ? config.object(key).text("content") : config.text(key);
  const int32_t id = find(name);
  if (id < 0) log::warning("{}: {} '{}' is no token of this tokenizer", config.where(), key, name);
  return id;
}

int32_t token_of(const Fields& config, const char* key, const FindToken& find, const Names& names) {
  if (const auto id = named_token(config, key, find)) return *id;
  if (config.mentions(key)) return -1;
  for (const char* name : names) {
    if (const int32_t id = find(name); id >= 0) return id;
  }
  return -1;
}

}  // namespace

SpecialTokens read_special_tokens(const Fields& config, const FindToken& find, int32_t unk,
                                  const std::optional<Surroundings>& surroundings) {
  SpecialTokens made;
  made.bos = token_of(config, "bos_token", find, kBosNames);
  made.eos = token_of(config, "eos_token", find, kEosNames);
  made.unk = named_token(config, "unk_token", find).value_or(unk);
  if (config.has("add_bos_token") || config.has("add_eos_token")) {
    if (config.flag("add_bos_token", false) && made.bos >= 0) made.around.before = {made.bos};
    if (config.flag("add_eos_token", false) && made.eos >= 0) made.around.after = {made.eos};
  } else if (surroundings) {
    made.around = *surroundings;
  }
  return made;
}

void apply_config_names(std::string_view config, const FindToken& find, int32_t& bos,
                        int32_t& eos) {
  if (config.empty()) return;
  const std::string where = "tokenizer_config.json";
  const auto json = read_json_object(config, where);
  const Fields fields(*json, where);
  bos = named_token(fields, "bos_token", find).value_or(bos);
  eos = named_token(fields, "eos_token", find).value_or(eos);
}

}  // namespace pivot::hf
