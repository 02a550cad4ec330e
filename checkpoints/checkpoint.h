#pragma once
/// Pivot checkpoints: a directory, complete or absent.
///
///   step_00000100/
///     model.h5        /meta (attributes) and /params/<name>, F32 (BF16 in converted checkpoints)
///     optimizer.h5    /m/<name>, /v/<name>, F32 (absent in exported checkpoints)
///     state.json      step, consumed sequences, ... : TrainState
///     config.toml     resolved configuration of the run
///     tokenizer.model, tokenizer.json or tokenizer.bytes
///     companions      files that travel with the model: see CheckpointInfo
///     MANIFEST.json   size and XXH3 of every other file; written last
/// Written under a temporary name, fsynced, renamed: see docs/formats/checkpoint.md.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "src/model/params.h"

namespace pivot {

/// What must survive besides weights and moments.
struct TrainState {
  int64_t step = 0;                // optimiser steps done
  int64_t consumed_sequences = 0;  // rows of the loader used so far
  int64_t consumed_tokens = 0;
  double elapsed_seconds = 0;
  std::map<std::string, double> values;  // loss averages, best validation loss, ...
};

/// Files that may travel with a model verbatim.
inline constexpr char kTokenizerConfigFile[] = "tokenizer_config.json";  // as Tokenizer::config()
inline constexpr char kHfConfigFile[] = "hf_config.json";  // config.json of the model's origin
inline constexpr char kGenerationConfigFile[] = "generation_config.json";
inline constexpr const char* kCompanionFiles[] = {kTokenizerConfigFile, kHfConfigFile,
                                                  kGenerationConfigFile};

struct CheckpointInfo {
  ModelConfig model;
  std::string attention;       // layer spec the last step was trained with
  std::string tokenizer_kind;  // as Tokenizer::kind()
  std::string tokenizer_bytes;
  std::string tokenizer_hash;
  std::string config_toml;
  std::string pivot_version;
  TrainState state;
  std::map<std::string, std::string> companions;  // of kCompanionFiles, those there are

  /// The text of a companion, "" where there is none.
  std::string companion(const std::string& name) const {
    const auto found = companions.find(name);
    return found == companions.end() ? "" : found->second;
  }
};

/// A file of a checkpoint that its owner writes.
struct CheckpointFile {
  std::string name;
  int64_t bytes = 0;  // at most
  std::function<void(const std::string& path)> write;
};

/// Writes DIR/step_XXXXXXXX. Tensors are flat (P) F32 in host memory in the order of list_params; m
/// and v may be absent. Checks the free space first. Throws Error and leaves nothing behind on
/// failure. `more` are written beside. Returns the checkpoint's path.
std::string save_checkpoint(const std::string& dir, const CheckpointInfo& info,
                            const Tensor& weights, const Tensor& m, const Tensor& v,
                            const std::vector<CheckpointFile>& more = {});

/// Deletes all but the newest `keep` complete checkpoints and stale temporary directories; keep <=
/// 0 keeps all.
void prune_checkpoints(const std::string& dir, int keep);

/// Complete checkpoints of DIR, oldest first (incomplete ones are skipped with a warning).
std::vector<std::string> list_checkpoints(const std::string& dir);

/// Resolves what users pass as --model: a checkpoint directory, a run directory (its newest
/// complete checkpoint) or a directory of checkpoints. Throws UserError that says what was found
/// instead.
std::string find_checkpoint(const std::string& path);

/// Reads and verifies (sizes and hashes of the manifest). Throws UserError naming the damaged file.
CheckpointInfo read_checkpoint_info(const std::string& path);
/// Fills flat (P) F32 host tensors; shapes and names must match the config. m and v may be absent.
void read_checkpoint_tensors(const std::string& path, const ModelConfig& config,
                             const Tensor& weights, const Tensor& m, const Tensor& v);

}  // namespace pivot
