#pragma once
/// The safetensors files of a Hugging Face directory as one list of tensors.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoints/safetensors.h"

namespace pivot {

inline constexpr char kHfSingleFile[] = "model.safetensors";
inline constexpr char kHfIndexFile[] = "model.safetensors.index.json";

class HfTensors {
 public:
  struct Tensor {
    const SafetensorsFile* file;
    const SafetensorsFile::Entry* entry;
  };

  /// model.safetensors, or the shards that model.safetensors.index.json lists. Throws UserError
  /// naming what is missing, damaged, or differs between index and files; says how to convert
  /// PyTorch files.
  explicit HfTensors(const std::string& directory);

  const std::map<std::string, Tensor>& all() const { return tensors_; }
  /// Null where there is none.
  const Tensor* find(const std::string& name) const;
  size_t files() const { return files_.size(); }

 private:
  void open_single(const std::string& path);
  void open_shards(const std::string& directory);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace pivot
