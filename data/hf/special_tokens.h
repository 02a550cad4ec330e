#pragma once
/// Which tokens begin, end and stand for the unknown, and what surrounds a text.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "data/hf/json.h"
#include "data/hf/post_processor.h"

namespace pivot::hf {

struct SpecialTokens {
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t unk = -1;
  Surroundings around;
};

/// The id of a token, -1 where there is none.
using FindToken = std::function<int32_t(std::string_view)>;

/// bos_token, eos_token and unk_token of tokenizer_config.json (texts, objects or null); where it
/// does not mention them, `unk` and the names that models use. add_bos_token and add_eos_token,
/// where given, take the place of the template, as in transformers 5.
SpecialTokens read_special_tokens(const Fields& config, const FindToken& find, int32_t unk,
                                  const std::optional<Surroundings>& surroundings);

/// As above for tokenizers that have their own: what `config` ("" or JSON) says about bos and eos.
void apply_config_names(std::string_view config, const FindToken& find, int32_t& bos, int32_t& eos);

}  // namespace pivot::hf
