#pragma once
/// What is put around a text ("add_special_tokens" of Hugging Face).

#include <cstdint>
#include <optional>
#include <vector>

#include "data/hf/json.h"

namespace pivot::hf {

/// Ids in front of and behind the text.
struct Surroundings {
  std::vector<int32_t> before, after;
};

/// The "post_processor" of `file`; nothing where it adds nothing by design (none, ByteLevel).
/// `vocab`: ids must be below. Throws UserError naming a type that is not supported.
std::optional<Surroundings> read_surroundings(const Fields& file, int64_t vocab);

}  // namespace pivot::hf
