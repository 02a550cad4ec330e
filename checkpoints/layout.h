#pragma once
/// Names inside a checkpoint and of checkpoints; the one place that knows them.

#include <cstdint>
#include <optional>
#include <string>

namespace pivot::layout {

inline constexpr char kModelFile[] = "model.h5";
inline constexpr char kOptimizerFile[] = "optimizer.h5";
inline constexpr char kAdapterFile[] = "adapters.h5";
inline constexpr char kStateFile[] = "state.json";
inline constexpr char kConfigFile[] = "config.toml";
inline constexpr char kFormat[] = "pivot-checkpoint";
inline constexpr int64_t kVersion = 1;

inline constexpr char kStepPrefix[] = "step_";
/// Directories on their way in or out; never read, removed by prune_checkpoints.
inline constexpr char kTemporarySuffix[] = ".tmp";

/// "step_00000100"; more digits where needed.
std::string step_name(int64_t step);
/// The step of such a name, nothing for any other.
std::optional<int64_t> parse_step_name(const std::string& name);
/// True for step_N.tmp and the like.
bool is_temporary_name(const std::string& name);

/// "tokenizer.model" for "sentencepiece", "tokenizer.json" for "huggingface", "tokenizer.bytes" for
/// "bytes". Throws UserError for any other kind.
std::string tokenizer_file(const std::string& kind);

}  // namespace pivot::layout
