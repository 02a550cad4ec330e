#include "checkpoints/gguf/file.h"

#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

#include "src/base/check.h"

namespace pivot {
namespace {

bool is_integer(GgufValueType type) {
  switch (type) {
    case GgufValueType::U8:
    case GgufValueType::I8:
    case GgufValueType::U16:
    case GgufValueType::I16:
    case GgufValueType::U32:
    case GgufValueType::I32:
    case GgufValueType::U64:
    case GgufValueType::I64:
      return true;
    default:
      return false;
  }
}

bool is_string(GgufValueType type) {
  return type == GgufValueType::String;
}

bool is_float(GgufValueType type) {
  return type == GgufValueType::F32;
}

double shortest_decimal(float x) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), x);
  double value = 0;
  std::from_chars(text, end.ptr, value);
  return value;
}

}  // namespace

GgufFile::GgufFile(const std::string& path)
    : path_(path), file_(path), header_(parse_gguf(file_.text(), path)) {}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = header_.values.find(key);
  return found == header_.values.end() ? nullptr : &found->second;
}

void GgufFile::wrong_type(std::string_view key, const char* wanted) const {
  const GgufValue& value = *find(key);
  throw_user("{}: key '{}' must be {}, is {}", path_, shown_name(key), wanted,
             gguf_value_type_name(value.type));
}

std::optional<std::string_view> GgufFile::text(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::String) wrong_type(key, "a string");
  std::string_view bytes = value->bytes;
  return take_gguf_string(bytes);
}

int64_t GgufFile::to_integer(std::string_view key, GgufValueType type,
                             std::string_view& bytes) const {
  const uint64_t bits = take_gguf_bits(type, bytes);
  switch (type) {
    case GgufValueType::I8:
      return static_cast<int8_t>(bits);
    case GgufValueType::I16:
      return static_cast<int16_t>(bits);
    case GgufValueType::I32:
      return static_cast<int32_t>(bits);
    case GgufValueType::I64:
      return static_cast<int64_t>(bits);
    default:
      if (bits > uint64_t{std::numeric_limits<int64_t>::max()}) {
        throw_user("{}: key '{}' is {}, above 2^63", path_, shown_name(key), bits);
      }
      return static_cast<int64_t>(bits);
  }
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!is_integer(value->type)) wrong_type(key, "an integer");
  std::string_view bytes = value->bytes;
  return to_integer(key, value->type, bytes);
}

std::optional<double> GgufFile::fraction(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::string_view bytes = value->bytes;
  double result = 0;
  if (value->type == GgufValueType::F32) {
    const auto bits = static_cast<uint32_t>(take_gguf_bits(value->type, bytes));
    result = std::bit_cast<float>(bits);
    if (std::isfinite(result)) result = shortest_decimal(std::bit_cast<float>(bits));
  } else if (value->type == GgufValueType::F64) {
    result = std::bit_cast<double>(take_gguf_bits(value->type, bytes));
  } else {
    wrong_type(key, "a fraction (F32 or F64)");
  }
  if (!std::isfinite(result)) throw_user("{}: key '{}' is not finite", path_, shown_name(key));
  return result;
}

std::optional<bool> GgufFile::flag(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::Bool) wrong_type(key, "a boolean");
  return value->bytes.front() != 0;
}

const GgufValue* GgufFile::find_array(std::string_view key, const char* what,
                                      bool (*suits)(GgufValueType)) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (value->type != GgufValueType::Array || !suits(value->element)) wrong_type(key, what);
  return value;
}

std::vector<std::string_view> GgufFile::texts(std::string_view key) const {
  std::vector<std::string_view> result;
  const GgufValue* value = find_array(key, "an array of strings", is_string);
  if (value == nullptr) return result;
  result.reserve(value->count);
  for (std::string_view bytes = value->bytes; !bytes.empty();) {
    result.push_back(take_gguf_string(bytes));
  }
  return result;
}

std::vector<int64_t> GgufFile::integers(std::string_view key) const {
  std::vector<int64_t> result;
  const GgufValue* value = find_array(key, "an array of integers", is_integer);
  if (value == nullptr) return result;
  result.reserve(value->count);
  for (std::string_view bytes = value->bytes; !bytes.empty();) {
    result.push_back(to_integer(key, value->element, bytes));
  }
  return result;
}

std::vector<float> GgufFile::floats(std::string_view key) const {
  std::vector<float> result;
  const GgufValue* value = find_array(key, "an array of F32", is_float);
  if (value == nullptr) return result;
  result.reserve(value->count);
  for (std::string_view bytes = value->bytes; !bytes.empty();) {
    const uint64_t bits = take_gguf_bits(GgufValueType::F32, bytes);
    result.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  return result;
}

}  // namespace pivot
