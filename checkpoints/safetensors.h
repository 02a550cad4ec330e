#pragma once
/// The safetensors format: u64 header length, JSON header, raw little-endian bytes.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/base/file.h"
#include "src/core/tensor.h"

namespace pivot {

/// Memory-mapped reader; never allocates beyond a small multiple of the file's size.
class SafetensorsFile {
 public:
  /// Throws UserError naming the file and what is wrong with it.
  explicit SafetensorsFile(const std::string& path);
  struct Entry {
    std::string dtype;  // "F32", "F16", "BF16", "I64", ...
    std::vector<int64_t> shape;
    std::span<const std::byte> bytes;
  };
  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;  // host memory; F32, BF16, I32, I64 or U8
};
/// Written whole or not at all.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace pivot
