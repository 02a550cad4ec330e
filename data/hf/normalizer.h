#pragma once
/// What is done to a text before it is cut: Unicode normal forms, replacements, ...

#include <memory>
#include <string>
#include <vector>

#include "data/hf/json.h"
#include "data/hf/text.h"

namespace pivot::hf {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(Text& text) const = 0;
};

/// The "normalizer" of `file`: its steps in order, sequences flattened; empty where there is none.
/// Throws UserError naming a type that is not supported.
std::vector<std::unique_ptr<Normalizer>> make_normalizers(const Fields& file);

enum class NormalForm { Nfc, Nfd, Nfkc, Nfkd };
/// Characters that change, and those they are joined with, share the bytes they come from. Normal
/// forms are those of the `tokenizers` package (see unicode_tables.h).
void normalize_unicode(Text& text, NormalForm form);

}  // namespace pivot::hf
