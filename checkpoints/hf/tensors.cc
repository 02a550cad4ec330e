#include "checkpoints/hf/tensors.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "checkpoints/hf/json.h"
#include "checkpoints/hf/names.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestIndex = size_t{16} << 20;  // 100000 tensors have 10 MB

std::string shown(const std::string& name) {
  constexpr size_t kLongest = 80;
  return name.size() <= kLongest ? name : name.substr(0, kLongest) + "...";
}

// What is there instead of safetensors, and what to do about it.
[[noreturn]] void no_weights(const std::string& directory) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string extension = fs::path(name).extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") {
      throw_user(
          "{}/{}: Pivot does not read PyTorch's pickled files, which can run code; convert them "
          "once with transformers: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT, "
          "safe_serialization=True)",
          directory, name);
    }
    if (extension == ".safetensors") {
      throw_user("{}: {} is there, but neither {} nor the index {}: copy the missing file",
                 directory, name, kHfSingleFile, kHfIndexFile);
    }
    if (extension == ".gguf") throw_user("{}: name the file {} itself", directory, name);
  }
  throw_user("{} has a config.json, but no weights: neither {} nor {}", directory, kHfSingleFile,
             kHfIndexFile);
}

// File of each tensor, as the index says.
std::map<std::string, std::string> read_index(const std::string& path) {
  const MappedFile file(path);
  const Json json = parse_json_object(file.text(), kLongestIndex, path);
  const auto weights = json.find("weight_map");
  if (weights == json.end() || !weights->is_object() || weights->empty()) {
    throw_user("{}: weight_map is missing: not the index of a sharded model", path);
  }
  std::map<std::string, std::string> out;
  for (const auto& [tensor, value] : weights->items()) {
    if (!value.is_string()) {
      throw_user("{}: the file of tensor '{}' is not text", path, shown(tensor));
    }
    const std::string name = value.get<std::string>();
    const bool plain = !name.empty() && name[0] != '.' && name.find('/') == std::string::npos &&
                       name.find('\0') == std::string::npos;
    if (!plain) throw_user("{}: '{}' is not the name of a file", path, shown(name));
    out[tensor] = name;
  }
  return out;
}

}  // namespace

HfTensors::HfTensors(const std::string& directory) {
  if (fs::exists(directory + "/" + kHfSingleFile)) {
    open_single(directory + "/" + kHfSingleFile);
  } else if (fs::exists(directory + "/" + kHfIndexFile)) {
    open_shards(directory);
  } else {
    no_weights(directory);
  }
}

const HfTensors::Tensor* HfTensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void HfTensors::open_single(const std::string& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const auto& [name, entry] : files_.back()->entries()) {
    tensors_[name] = {files_.back().get(), &entry};
  }
}

void HfTensors::open_shards(const std::string& directory) {
  const std::string index = directory + "/" + kHfIndexFile;
  const std::map<std::string, std::string> listed = read_index(index);
  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& [tensor, name] : listed) {
    const SafetensorsFile*& shard = shards[name];
    if (shard == nullptr) {
      const std::string path = directory + "/" + name;
      if (!fs::exists(path)) {
        throw_user("{} is missing: {} lists it; copy it again", path, kHfIndexFile);
      }
      files_.push_back(std::make_unique<SafetensorsFile>(path));
      shard = files_.back().get();
    }
    const auto found = shard->entries().find(tensor);
    if (found == shard->entries().end()) {
      throw_user(
          "{}: tensor '{}' should be in {}, which does not have it: index and shards are of "
          "different models",
          index, shown(tensor), name);
    }
    tensors_[tensor] = {shard, &found->second};
  }
  for (const auto& [name, shard] : shards) {
    for (const auto& [tensor, entry] : shard->entries()) {
      const auto found = listed.find(tensor);
      if (is_computed_tensor(tensor) || (found != listed.end() && found->second == name)) continue;
      throw_user(
          "{}/{}: tensor '{}' is not where {} says: index and shards are of different models",
          directory, name, shown(tensor), kHfIndexFile);
    }
  }
}

}  // namespace pivot
