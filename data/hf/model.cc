#include "data/hf/model.h"

#include "src/base/check.h"

namespace pivot::hf {

void Model::add_cuts(std::string_view, std::vector<uint32_t>&) const {}

std::unique_ptr<Model> make_model(TokenizerFile& file, Alphabet alphabet,
                                  const std::string& where) {
  const Fields fields = Fields(*file.rest, where).object("model");
  // Old files name no type; merges are what only BPE has.
  const std::string type = fields.text("type", file.has_merges ? "BPE" : "");
  // More would not fit ids; no vocabulary comes near.
  constexpr size_t kMostTokens = 1 << 28;
  if (file.tokens.size() > kMostTokens)
    throw_user("{}: {} tokens", fields.where(), file.tokens.size());
  if (type == "BPE") return make_bpe(file, fields, alphabet);
  if (type == "Unigram") return make_unigram(file, fields, alphabet);
  throw_user("{}: type '{}' is not supported (BPE and Unigram are)", fields.where(), type);
}

}  // namespace pivot::hf
