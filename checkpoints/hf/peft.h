#pragma once
/// Adapters as Hugging Face's PEFT stores them.

#include <string>

namespace pivot {

/// Writes adapter_config.json and adapter_model.safetensors (F32) of a checkpoint that was trained
/// with lora.rank into the new directory `dir`, whole or not at all. `base` is what the files call
/// the model under them; "" takes the path the run was told. Throws UserError where the checkpoint
/// has no adapters or `dir` holds files.
void export_peft(const std::string& checkpoint, const std::string& dir,
                 const std::string& base = "");

}  // namespace pivot
