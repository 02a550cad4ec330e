#pragma once
/// The keys of a GGUF file to be written, in order.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pivot {

class GgufMetadata {
 public:
  void text(std::string_view key, std::string_view value);
  void u32(std::string_view key, int64_t value);  // a bug if it does not fit
  void f32(std::string_view key, double value);
  void flag(std::string_view key, bool value);
  void texts(std::string_view key, const std::vector<std::string>& values);
  void i32s(std::string_view key, const std::vector<int32_t>& values);
  void f32s(std::string_view key, const std::vector<float>& values);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

  static void append_text(std::string& out, std::string_view value);
  template <class T>
  static void append(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

 private:
  void begin(std::string_view key, uint32_t type);
  void begin_array(std::string_view key, uint32_t element, size_t count);

  std::string bytes_;
  uint64_t count_ = 0;
};

}  // namespace pivot
