#pragma once
/// The safetensors format: u64 header length, JSON header, raw little-endian bytes.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file.h"
#include "src/core/tensor.h"

namespace pivot {

class OutputFile;

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
  /// As MappedFile::release, of a part of an entry's bytes.
  void release(std::span<const std::byte> part) const { file_.release(part); }

 private:
  MappedFile file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// A file written front to back; nothing but the piece at hand is in memory. Appears complete or
/// not at all.
class SafetensorsWriter {
 public:
  struct Item {
    std::string name;
    std::string dtype;  // as in Entry
    std::vector<int64_t> shape;
  };
  /// Elements of one width, or widest first: that aligns every tensor without padding. Throws Error
  /// if the file cannot be written.
  SafetensorsWriter(const std::string& path, const std::vector<Item>& items,
                    const std::map<std::string, std::string>& metadata);
  ~SafetensorsWriter();

  /// The bytes of all items, in their order, in pieces of any size.
  void write(std::string_view bytes);
  /// After the last byte.
  void commit();

 private:
  std::unique_ptr<OutputFile> out_;
  uint64_t missing_ = 0;  // bytes
};

struct NamedTensor {
  std::string name;
  Tensor tensor;  // host memory; F32, BF16, I32, I64 or U8
};
/// Written whole or not at all.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace pivot
