#pragma once
/// The header of a GGUF file (versions 2 and 3, little-endian), read strictly: nothing in it is
/// trusted, and nothing is copied but names.
///
///   "GGUF"  u32 version  u64 tensors  u64 keys
///   keys x     (string name, u32 value type, value)
///   tensors x  (string name, u32 rank, u64 dims[rank] innermost first, u32 type, u64 offset)
///   padding to the alignment, data

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoints/gguf/types.h"

namespace pivot {

enum class GgufValueType : uint32_t {
  U8 = 0,
  I8 = 1,
  U16 = 2,
  I16 = 3,
  U32 = 4,
  I32 = 5,
  F32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  U64 = 10,
  I64 = 11,
  F64 = 12,
};

const char* gguf_value_type_name(GgufValueType type);

/// A value where it lies in the file; its bytes were checked to be whole.
struct GgufValue {
  GgufValueType type = GgufValueType::U8;
  GgufValueType element = GgufValueType::U8;  // of an array
  uint64_t count = 1;                         // elements of an array
  std::string_view bytes;                     // the value, or the elements of an array
};

struct GgufTensorInfo {
  std::vector<int64_t> shape;  // outermost first, as everywhere in Pivot
  const GgufTypeInfo* type = nullptr;
  uint64_t begin = 0, end = 0;  // bytes of the file
};

struct GgufHeader {
  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> values;
  std::map<std::string, GgufTensorInfo, std::less<>> tensors;
};

/// Parses and checks the whole of `file` but tensor data: known types, no name twice, arrays and
/// strings that end inside the file, shapes of whole blocks, aligned tensors inside the file that
/// do not overlap. The header's views point into `file`. Memory stays below a small multiple of the
/// header's. Throws UserError that starts with `where`.
GgufHeader parse_gguf(std::string_view file, const std::string& where);

/// A name as it may appear in a message: hostile ones are long and not text.
std::string shown_name(std::string_view name);

/// Consumes one value of a fixed size, or string, from the front of checked bytes.
uint64_t take_gguf_bits(GgufValueType type, std::string_view& bytes);
std::string_view take_gguf_string(std::string_view& bytes);

}  // namespace pivot
