#pragma once
/// Text to token ids and back. Every tokenizer has an identity (hash) that travels with shards and
/// checkpoints.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pivot {

/// Whether text that spells a special token ("<|im_end|>") becomes that token, as Hugging Face does
/// it, or is text like any other (what untrusted people wrote).
enum class SpecialText { Parse, Plain };

/// Token i was made from the bytes [begin[i], end[i]) of the text; tokens that share one character
/// share its bytes.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int64_t> begin, end;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual int64_t vocab() const = 0;
  /// Never adds special tokens around the text; those spelt in it are parsed where the tokenizer
  /// has them ("huggingface"; the others take them for text).
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// The same ids with where they come from.
  virtual Encoding encode_spans(std::string_view text, SpecialText special) const;
  /// The ids with what the tokenizer puts around a text (Hugging Face's add_special_tokens=True).
  /// Without a rule of its own: bos in front and eos behind, where it has them.
  virtual std::vector<int32_t> add_special(std::vector<int32_t> ids) const;
  /// Bytes, which need not be valid UTF-8 when ids cut a character (see StreamDecoder).
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  /// -1 where the tokenizer has none.
  virtual int32_t bos() const = 0;
  virtual int32_t eos() const = 0;
  virtual int32_t unk() const = 0;
  /// How one token is shown to people ("▁the", "<0x0A>").
  virtual std::string piece(int32_t id) const = 0;
  /// "bytes", "sentencepiece" or "huggingface" (tokenizer.json).
  virtual std::string kind() const = 0;
  /// The file's bytes, to be copied into checkpoints ("" for the byte tokenizer).
  virtual const std::string& model_bytes() const = 0;
  /// Hugging Face's tokenizer_config.json (chat template, names of special tokens), verbatim; ""
  /// for a tokenizer without one. Not part of its identity.
  virtual const std::string& config() const;
  /// UTF-8 bytes of text that one token stands for, 0 for control tokens.
  virtual int32_t token_bytes(int32_t id) const;
  /// The token spelt exactly like this, -1 where there is none.
  virtual int32_t find_piece(std::string_view piece) const;
  /// hash_hex of kind and model bytes.
  std::string hash() const;
};

/// Ids of the symbols "<r0>", "<r1>", ... that a tokenizer was trained with for generated tasks
/// (`pivot tokenizer train --reserved N`), in that order; empty where it has none.
std::vector<int32_t> reserved_symbols(const Tokenizer& tokenizer);
std::string reserved_symbol_name(int64_t index);

/// Writes tokenizer.json, tokenizer.model or tokenizer.bytes, and tokenizer_config.json where there
/// is a config(), into `directory`, where load_tokenizer() finds them.
void save_tokenizer(const Tokenizer& tokenizer, const std::string& directory);
/// Whether save_tokenizer() writes files of this name.
bool is_tokenizer_file(std::string_view name);

/// "bytes", or a path: a tokenizer.json, a SentencePiece model file, or a directory (run,
/// checkpoint, Hugging Face's) that holds tokenizer.json, else tokenizer.model, else
/// tokenizer.bytes; with it tokenizer_config.json, into which a chat_template.jinja is merged.
/// Throws UserError naming what was looked for.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& spec);
/// From what kind(), model_bytes() and config() gave.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& kind, std::string model_bytes,
                                          std::string config = {});

/// Whether control tokens ("<|im_end|>") are part of a text that is shown.
enum class ControlTokens { Show, Skip };

/// Turns a growing list of ids into text that is always valid UTF-8: holds back cut characters.
class StreamDecoder {
 public:
  /// Skip leaves out the tokens that stand for no text (token_bytes() is 0).
  explicit StreamDecoder(const Tokenizer& tokenizer, ControlTokens control = ControlTokens::Show)
      : tokenizer_(tokenizer), control_(control) {}
  /// The text that became certain with this id. Bytes that can no longer become a character come
  /// out as U+FFFD.
  std::string push(int32_t id);
  /// What is still held back, invalid bytes replaced by U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  ControlTokens control_;
  std::vector<int32_t> ids_;  // the last id given out entirely, and those after it
  size_t decoded_ = 0;        // bytes of decode(ids_) that went to `held_`
  std::string held_;          // begins a character
};

}  // namespace pivot
