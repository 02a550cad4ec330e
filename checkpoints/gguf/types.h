#pragma once
/// The storage types of GGUF tensors: rows of blocks of `block` elements in `bytes` bytes.

#include <cstdint>
#include <string>

namespace pivot {

enum class GgufType : uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q8_0 = 8,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  BF16 = 30,
};

struct GgufTypeInfo {
  uint32_t id;  // a GgufType where `readable`
  const char* name;
  int64_t block;
  int64_t bytes;
  bool readable;  // dequantize() knows it
};

/// Null for an id that the format does not define.
const GgufTypeInfo* find_gguf_type(uint32_t id);
const GgufTypeInfo& gguf_type(GgufType type);
/// "F32, F16, ...": what dequantize() knows.
std::string readable_gguf_types();

}  // namespace pivot
