#pragma once
/// From the spellings of tokens back to text.

#include <memory>
#include <string>
#include <vector>

#include "data/hf/json.h"

namespace pivot::hf {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the parts of a text; what is empty stays in the list where positions matter.
  virtual void apply(std::vector<std::string>& parts) const = 0;
};

struct Decoders {
  std::vector<std::unique_ptr<Decoder>> steps;
  /// The steps only map bytes of GPT-2's alphabet, each token by itself.
  bool byte_level_only = false;
  /// There is no "decoder": tokens are shown with spaces between them.
  bool absent = false;
};

/// The "decoder" of `file`, sequences flattened. Unlike the package's, byte decoders give bytes
/// that form no character as they are, not as U+FFFD. Throws UserError naming a type that is not
/// supported.
Decoders make_decoders(const Fields& file);

}  // namespace pivot::hf
