#pragma once
/// How a model says that its turn is over.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "data/chat/template.h"

namespace pivot {

struct TurnEnd {
  std::vector<int32_t> ids;  // tokens
  std::vector<std::string>
      texts;  // where the tokenizer has no token for the template's end of turn
};

/// What follows an answer in the template, as one token or as a text, with the tokenizer's eos and
/// the tokens that the model's generation_config.json names. A template that ends turns with an
/// ordinary character would end every answer at its first one: such tokens are no end.
TurnEnd turn_end(const chat::Template& chat_template, const Tokenizer& tokenizer,
                 const CheckpointInfo& info);

}  // namespace pivot
