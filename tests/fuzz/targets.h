#pragma once
/// Readers that must survive any bytes: the same functions run under libFuzzer (scripts/fuzz.sh)
/// and, on seeds and a few thousand fixed mutations, in the ordinary tests.

#include <string>
#include <string_view>
#include <vector>

namespace pivot::fuzz {

struct Target {
  const char* name;
  /// Reads `bytes` as its kind of input. UserError is the only exception an input may cause, and
  /// what is accepted must satisfy the properties checked inside; anything else is a finding.
  void (*read)(std::string_view bytes);
  /// Small valid inputs to start from.
  std::vector<std::string> (*seeds)();
};

/// Calls target.read and swallows UserError.
void run(const Target& target, std::string_view bytes);

const std::vector<Target>& targets();
/// Throws UserError for an unknown name.
const Target& find_target(const std::string& name);

// The members of targets(), by file.
void read_config(std::string_view bytes);
std::vector<std::string> config_seeds();
void read_attention(std::string_view bytes);
std::vector<std::string> attention_seeds();
void read_state(std::string_view bytes);
std::vector<std::string> state_seeds();

void read_jsonl(std::string_view bytes);
std::vector<std::string> jsonl_seeds();
void read_text(std::string_view bytes);
std::vector<std::string> text_seeds();
void read_gzip(std::string_view bytes);
std::vector<std::string> gzip_seeds();

void read_safetensors(std::string_view bytes);
std::vector<std::string> safetensors_seeds();
void read_manifest_file(std::string_view bytes);
std::vector<std::string> manifest_seeds();
void read_model_file(std::string_view bytes);
std::vector<std::string> model_seeds();
void read_shard(std::string_view bytes);
std::vector<std::string> shard_seeds();

void read_gguf(std::string_view bytes);
std::vector<std::string> gguf_seeds();
void export_tokenizer(std::string_view bytes);
std::vector<std::string> export_seeds();
void read_hf_config_file(std::string_view bytes);
std::vector<std::string> hf_config_seeds();
void read_hf_index(std::string_view bytes);
std::vector<std::string> hf_index_seeds();
void read_hf_tokenizer_file(std::string_view bytes);
std::vector<std::string> hf_tokenizer_seeds();

void decode_bytes(std::string_view bytes);
void decode_pieces(std::string_view bytes);
std::vector<std::string> id_seeds();

}  // namespace pivot::fuzz
