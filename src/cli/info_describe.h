#pragma once
/// What a path is, as JSON: the source of both forms of `pivot info`.

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace pivot {

/// A checkpoint, a run or a directory of either; a shard or a directory of shards; a safetensors
/// file. Everything read is verified. Throws UserError that says what was found instead.
nlohmann::ordered_json describe_path(const std::string& path);

}  // namespace pivot
