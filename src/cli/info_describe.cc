#include "src/cli/info_describe.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "checkpoints/checkpoint.h"
#include "checkpoints/hf/source.h"
#include "checkpoints/manifest.h"
#include "checkpoints/model_source.h"
#include "checkpoints/safetensors.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/options.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kHdf5Signature[] = "\x89HDF\r\n\x1a\n";

// Text from files may hold any bytes; JSON must be UTF-8.
Json text(const std::string& bytes) {
  const std::string dumped = Json(bytes).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(dumped);
}

Json describe_model(const ModelConfig& config) {
  ModelConfig copy = config;
  Json out;
  for (const OptionField& field : option_fields(copy)) out[field.key] = field.print();
  return out;
}

// Parameters by the first or last word of their names: embed, qkv, gate_up, ...
Json describe_parameters(const ModelConfig& config) {
  Json out;
  out["total"] = parameter_count(config);
  Json parts = Json::object();
  for (const ParamInfo& p : list_params(config)) {
    std::string part = p.name;
    if (part.rfind("layers.", 0) == 0) part = "layers" + part.substr(part.find('.', 7));
    parts[part] = parts.value(part, int64_t{0}) + p.shape.count();
  }
  out["of which"] = std::move(parts);
  return out;
}

Json describe_state(const TrainState& state) {
  Json out;
  out["step"] = state.step;
  out["consumed_sequences"] = state.consumed_sequences;
  out["consumed_tokens"] = state.consumed_tokens;
  out["elapsed_seconds"] = state.elapsed_seconds;
  for (const auto& [name, value] : state.values) out[name] = value;
  return out;
}

Json describe_files(const std::string& path) {
  const std::vector<ManifestFile> files = read_manifest(path);
  Json out = Json::array();
  for (const ManifestFile& file : files) {
    verify_file(path, files, file.name);
    out.push_back({{"name", file.name}, {"bytes", file.size}, {"xxh3", file.hash}});
  }
  return out;
}

Json describe_checkpoint(const std::string& path) {
  const CheckpointInfo info = read_checkpoint_info(path);
  const bool resumable = has_file(read_manifest(path), "optimizer.h5");
  Json out;
  out["what"] = resumable ? "Pivot checkpoint" : "Pivot checkpoint without optimizer state";
  out["path"] = path;
  out["written by"] = text(info.pivot_version);
  out["attention"] = text(info.attention);
  out["tokenizer"] = {{"kind", text(info.tokenizer_kind)}, {"hash", text(info.tokenizer_hash)}};
  out["parameters"] = describe_parameters(info.model);
  out["model"] = describe_model(info.model);
  out["training"] = describe_state(info.state);
  out["files"] = describe_files(path);
  out["config"] = text(info.config_toml);
  return out;
}

Json describe_checkpoints(const std::string& path) {
  const std::string newest = find_checkpoint(path);
  Json out;
  out["what"] = fs::exists(path + "/config.toml") ? "Pivot run" : "directory of checkpoints";
  out["path"] = path;
  Json all = Json::array();
  for (const std::string& checkpoint : list_checkpoints(fs::path(newest).parent_path().string())) {
    all.push_back(fs::path(checkpoint).filename().string());
  }
  out["checkpoints"] = std::move(all);
  out["newest"] = describe_checkpoint(newest);
  return out;
}

Json describe_shards(const std::vector<std::string>& paths) {
  const Shard first(paths.front());
  int64_t documents = 0, tokens = 0, bytes = 0;
  Json files = Json::array();
  for (const std::string& path : paths) {
    const Shard shard(path);
    documents += shard.documents();
    tokens += shard.tokens();
    bytes += shard.text_bytes();
    files.push_back({{"name", fs::path(path).filename().string()},
                     {"documents", shard.documents()},
                     {"tokens", shard.tokens()},
                     {"content_xxh3", text(shard.content_hash())}});
  }
  const ShardInfo& info = first.info();
  Json out;
  out["what"] = info.task.empty() ? "token shards of text" : "token shards of a generated task";
  if (!info.task.empty()) out["task"] = text(info.task);
  out["tokenizer"] = {{"kind", text(info.tokenizer_kind)},
                      {"hash", text(info.tokenizer_hash)},
                      {"vocab", info.vocab}};
  out["documents"] = documents;
  out["tokens"] = tokens;
  out["bytes"] = bytes;
  out["loss mask"] = first.masked() ? "some tokens" : "every token";
  out["documents cut"] = info.keep_whole ? "never" : "at the ends of rows";
  out["parameters"] = text(info.parameters);
  out["provenance"] = text(info.provenance);
  out["files"] = std::move(files);
  return out;
}

Json describe_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  Json out;
  out["what"] = "safetensors file";
  out["path"] = path;
  int64_t values = 0, bytes = 0;
  Json tensors = Json::array();
  for (const auto& [name, entry] : file.entries()) {
    int64_t count = 1;
    for (const int64_t d : entry.shape) count *= d;
    values += count;
    bytes += static_cast<int64_t>(entry.bytes.size());
    tensors.push_back({{"name", name}, {"dtype", entry.dtype}, {"shape", entry.shape}});
  }
  out["values"] = values;
  out["bytes"] = bytes;
  Json metadata = Json::object();
  for (const auto& [key, value] : file.metadata()) metadata[key] = text(value);
  out["metadata"] = std::move(metadata);
  out["tensors"] = std::move(tensors);
  return out;
}

// Models of other programs: nothing that training left behind.
Json describe_foreign(const std::string& path) {
  const std::unique_ptr<ModelSource> source = open_model(path);
  const CheckpointInfo& info = source->info();
  Json out;
  out["what"] = source->describe();
  out["path"] = path;
  if (!info.pivot_version.empty()) out["written by"] = text("pivot " + info.pivot_version);
  out["attention"] = text(info.attention);
  out["tokenizer"] = {{"kind", text(info.tokenizer_kind)}, {"hash", text(info.tokenizer_hash)}};
  out["parameters"] = describe_parameters(info.model);
  out["model"] = describe_model(info.model);
  if (info.state.step > 0) out["training"] = describe_state(info.state);
  Json companions = Json::array();
  for (const auto& [name, bytes] : info.companions) {
    companions.push_back({{"name", name}, {"bytes", bytes.size()}});
  }
  out["companions"] = std::move(companions);
  return out;
}

bool holds_shards(const std::string& dir) {
  return std::any_of(fs::directory_iterator(dir), fs::directory_iterator(),
                     [](const fs::directory_entry& e) { return e.path().extension() == ".h5"; });
}

bool starts_with(const std::string& path, std::string_view signature) {
  std::string head(signature.size(), '\0');
  std::ifstream(path, std::ios::binary).read(head.data(), static_cast<int64_t>(head.size()));
  return head == signature;
}

bool looks_like_safetensors(const std::string& path) {
  return fs::path(path).extension() == ".safetensors" || (fs::file_size(path) > 9 && [&] {
           std::string head(9, '\0');
           std::ifstream(path, std::ios::binary).read(head.data(), 9);
           return head[8] == '{' && head[7] == 0 && head[6] == 0;
         }());
}

Json describe_file(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  const std::string name = fs::path(path).filename().string();
  if (name == "model.h5" || name == "optimizer.h5" || name == kManifestName) {
    return describe_checkpoint(parent.empty() ? "." : parent);
  }
  if (starts_with(path, std::string_view(kHdf5Signature, sizeof(kHdf5Signature) - 1))) {
    return describe_shards({path});
  }
  if (fs::path(path).extension() == ".gguf") return describe_foreign(path);
  if (looks_like_safetensors(path)) return describe_safetensors(path);
  throw_user("{} is no model, checkpoint, run, shard or safetensors file", path);
}

}  // namespace

nlohmann::ordered_json describe_path(const std::string& path) {
  if (!fs::exists(path)) throw_user("{} does not exist", path);
  if (!fs::is_directory(path)) return describe_file(path);
  if (fs::exists(path + "/" + kManifestName)) return describe_checkpoint(path);
  if (is_hf_directory(path)) return describe_foreign(path);
  if (fs::is_directory(path + "/train") && holds_shards(path + "/train")) {
    return describe_shards(resolve_shards(path + "/train"));
  }
  if (holds_shards(path) && !fs::exists(path + "/model.h5")) {
    return describe_shards(resolve_shards(path));
  }
  return describe_checkpoints(path);
}

}  // namespace pivot
