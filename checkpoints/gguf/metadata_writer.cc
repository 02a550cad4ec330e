#include "checkpoints/gguf/metadata_writer.h"

#include <limits>

#include "checkpoints/gguf/header.h"
#include "src/base/check.h"

namespace pivot {
namespace {

constexpr uint32_t id(GgufValueType type) {
  return static_cast<uint32_t>(type);
}

}  // namespace

void GgufMetadata::append_text(std::string& out, std::string_view value) {
  append(out, uint64_t{value.size()});
  out.append(value);
}

void GgufMetadata::begin(std::string_view key, uint32_t type) {
  append_text(bytes_, key);
  append(bytes_, type);
  ++count_;
}

void GgufMetadata::begin_array(std::string_view key, uint32_t element, size_t count) {
  begin(key, id(GgufValueType::Array));
  append(bytes_, element);
  append(bytes_, uint64_t{count});
}

void GgufMetadata::text(std::string_view key, std::string_view value) {
  begin(key, id(GgufValueType::String));
  append_text(bytes_, value);
}

void GgufMetadata::u32(std::string_view key, int64_t value) {
  PIVOT_CHECK(value >= 0 && value <= std::numeric_limits<uint32_t>::max(), "{} is {}", key, value);
  begin(key, id(GgufValueType::U32));
  append(bytes_, static_cast<uint32_t>(value));
}

void GgufMetadata::f32(std::string_view key, double value) {
  begin(key, id(GgufValueType::F32));
  append(bytes_, static_cast<float>(value));
}

void GgufMetadata::flag(std::string_view key, bool value) {
  begin(key, id(GgufValueType::Bool));
  append(bytes_, static_cast<uint8_t>(value));
}

void GgufMetadata::texts(std::string_view key, const std::vector<std::string>& values) {
  begin_array(key, id(GgufValueType::String), values.size());
  for (const std::string& value : values) append_text(bytes_, value);
}

void GgufMetadata::i32s(std::string_view key, const std::vector<int32_t>& values) {
  begin_array(key, id(GgufValueType::I32), values.size());
  for (const int32_t value : values) append(bytes_, value);
}

void GgufMetadata::f32s(std::string_view key, const std::vector<float>& values) {
  begin_array(key, id(GgufValueType::F32), values.size());
  for (const float value : values) append(bytes_, value);
}

}  // namespace pivot
