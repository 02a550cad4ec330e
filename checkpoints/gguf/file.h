#pragma once
/// A GGUF file: typed metadata and mapped tensors.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoints/gguf/header.h"
#include "src/base/file.h"

namespace pivot {

class GgufFile {
 public:
  /// Maps the file and checks its header (parse_gguf). Throws UserError naming the file.
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return path_; }
  uint32_t version() const { return header_.version; }
  const std::map<std::string, GgufValue, std::less<>>& values() const { return header_.values; }
  const std::map<std::string, GgufTensorInfo, std::less<>>& tensors() const {
    return header_.tensors;
  }
  std::span<const std::byte> bytes(const GgufTensorInfo& tensor) const {
    return file_.bytes().subspan(tensor.begin, tensor.end - tensor.begin);
  }
  /// Bytes [begin, end) of a tensor need not stay in memory.
  void release(const GgufTensorInfo& tensor, int64_t begin, int64_t end) const {
    file_.release(
        bytes(tensor).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
  }

  bool has(std::string_view key) const { return header_.values.find(key) != header_.values.end(); }
  /// Values by key, nothing where the key is absent. Throw UserError where it has another type;
  /// integers of any width, and fractions of both, are taken.
  std::optional<std::string_view> text(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key) const;
  /// A single-precision value as the shortest decimal that rounds to it: 1e-05, not
  /// 9.999999747378752e-06. Finite.
  std::optional<double> fraction(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  /// Arrays, views into the file; empty where the key is absent.
  std::vector<std::string_view> texts(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<float> floats(std::string_view key) const;

 private:
  const GgufValue* find(std::string_view key) const;
  const GgufValue* find_array(std::string_view key, const char* what,
                              bool (*suits)(GgufValueType)) const;
  [[noreturn]] void wrong_type(std::string_view key, const char* wanted) const;
  int64_t to_integer(std::string_view key, GgufValueType type, std::string_view& bytes) const;

  std::string path_;
  MappedFile file_;
  GgufHeader header_;
};

}  // namespace pivot
