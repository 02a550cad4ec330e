#pragma once
/// state.json: TrainState as text that reads back bit for bit.

#include <string>

#include "checkpoints/checkpoint.h"

namespace pivot {

std::string print_train_state(const TrainState& state);
/// `where` names the file in messages. Throws UserError on anything that print_train_state would
/// not have written.
TrainState parse_train_state(const std::string& text, const std::string& where);

}  // namespace pivot
