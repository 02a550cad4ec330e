#pragma once
/// How a text is cut into the pieces that the model sees.

#include <memory>
#include <vector>

#include "data/hf/json.h"
#include "data/hf/model.h"
#include "data/hf/text.h"

namespace pivot::hf {

/// Ascending pieces of a text, none empty; what lies between them is dropped.
struct Pieces {
  Text& text;
  std::vector<Range> ranges;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

struct PreTokenizers {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  /// Bytes when the last step maps to GPT-2's alphabet and the model does that by itself.
  Alphabet alphabet = Alphabet::Chars;
  /// A step asks where in the given text a piece begins.
  bool needs_origins = false;
};

/// The "pre_tokenizer" of `file`, sequences flattened. `raw_bytes`: the model can read bytes
/// (Alphabet::Bytes). Throws UserError naming a type that is not supported.
PreTokenizers make_pre_tokenizers(const Fields& file, bool raw_bytes);

}  // namespace pivot::hf
