#include "tests/fuzz/targets.h"

#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot::fuzz {

void run(const Target& target, std::string_view bytes) {
  log::set_level(log::Level::Off);
  try {
    target.read(bytes);
  } catch (const UserError&) {
    return;  // refused, as it should be
  }
}

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {
      {"config", &read_config, &config_seeds},
      {"attention", &read_attention, &attention_seeds},
      {"state", &read_state, &state_seeds},
      {"jsonl", &read_jsonl, &jsonl_seeds},
      {"text", &read_text, &text_seeds},
      {"gzip", &read_gzip, &gzip_seeds},
      {"safetensors", &read_safetensors, &safetensors_seeds},
      {"manifest", &read_manifest_file, &manifest_seeds},
      {"model", &read_model_file, &model_seeds},
      {"shard", &read_shard, &shard_seeds},
      {"gguf", &read_gguf, &gguf_seeds},
      {"gguf_export", &export_tokenizer, &export_seeds},
      {"hf_config", &read_hf_config_file, &hf_config_seeds},
      {"hf_index", &read_hf_index, &hf_index_seeds},
      {"hf_tokenizer", &read_hf_tokenizer_file, &hf_tokenizer_seeds},
      {"decode_bytes", &decode_bytes, &id_seeds},
      {"decode_pieces", &decode_pieces, &id_seeds},
  };
  return all;
}

const Target& find_target(const std::string& name) {
  for (const Target& target : targets()) {
    if (name == target.name) return target;
  }
  throw_user("no fuzz target '{}'", name);
}

}  // namespace pivot::fuzz
