#pragma once
/// The JSON header of a safetensors file, read strictly: nothing in it is trusted.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pivot {

struct SafetensorsHeader {
  struct Entry {
    std::string dtype;
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  // bytes, from the end of the header
  };
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;
};

/// Bytes of one element of a safetensors dtype; 0 for a dtype this reader does not know.
int64_t safetensors_dtype_bytes(std::string_view dtype);

/// Parses and checks `json` against `data_bytes`, the bytes that follow the header: known dtypes,
/// no duplicate names, shape times dtype equal to the range, ranges that cover the data without
/// holes or overlaps. Memory stays below a small multiple of the header. Throws UserError that
/// starts with `where`.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                           const std::string& where);

}  // namespace pivot
