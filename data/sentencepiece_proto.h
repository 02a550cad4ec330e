#pragma once
/// The few facts of a SentencePiece model file that its library does not tell.

#include <string>
#include <string_view>

namespace pivot {

struct SentencePieceFacts {
  std::string model_prefix;              // trainer_spec.model_prefix
  bool add_dummy_prefix = true;          // normalizer_spec, with the format's defaults
  bool remove_extra_whitespaces = true;  //
  bool escape_whitespaces = true;        //
};

/// Reads the protobuf wire format of `model`. Throws UserError naming `where` if it is malformed.
SentencePieceFacts read_sentencepiece_facts(std::string_view model, const std::string& where);

}  // namespace pivot
