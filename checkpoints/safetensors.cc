#include "checkpoints/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <nlohmann/json.hpp>

#include "checkpoints/output_file.h"
#include "checkpoints/safetensors_header.h"
#include "src/base/check.h"

namespace pivot {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kLongestHeader = 100'000'000;  // the limit of the reference reader
constexpr size_t kAlignment = 8;  // of the data's first byte, so that maps are usable

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const std::string_view text = file_.text();
  if (text.size() < kLengthBytes) {
    throw_user("{}: {} bytes, too short for a safetensors file", path, text.size());
  }
  uint64_t length = 0;
  std::memcpy(&length, text.data(), kLengthBytes);
  if (length > text.size() - kLengthBytes) {
    throw_user("{}: the header claims {} bytes, the file has {}: truncated or not safetensors",
               path, length, text.size());
  }
  if (length > kLongestHeader) {
    throw_user("{}: a header of {} bytes is above the limit of {}", path, length, kLongestHeader);
  }
  const std::span<const std::byte> data = file_.bytes().subspan(kLengthBytes + length);
  SafetensorsHeader header =
      parse_safetensors_header(text.substr(kLengthBytes, length), data.size(), path);
  for (auto& [name, entry] : header.entries) {
    entries_[name] = {std::move(entry.dtype), std::move(entry.shape),
                      data.subspan(entry.begin, entry.end - entry.begin)};
  }
  metadata_ = std::move(header.metadata);
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Widest elements first keeps every tensor aligned to its element without padding.
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& item : tensors) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return dtype_bytes(a->tensor.dtype) > dtype_bytes(b->tensor.dtype);
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const NamedTensor* item : order) {
    PIVOT_CHECK(item->name != "__metadata__" && !header.contains(item->name),
                "tensor name '{}' is reserved or given twice", item->name);
    const uint64_t end = offset + item->tensor.bytes();
    std::vector<int64_t> shape;
    for (int i = 0; i < item->tensor.shape.rank; ++i) shape.push_back(item->tensor.dim(i));
    header[item->name] = {{"dtype", dtype_name(item->tensor.dtype)},
                          {"shape", shape},
                          {"data_offsets", {offset, end}}};
    offset = end;
  }
  // Metadata may hold any bytes of a prompt; JSON must be UTF-8.
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const uint64_t length = text.size();

  OutputFile out(path);
  out.write({reinterpret_cast<const char*>(&length), kLengthBytes});
  out.write(text);
  for (const NamedTensor* item : order) {
    out.write({static_cast<const char*>(item->tensor.data), item->tensor.bytes()});
  }
  out.commit();
}

}  // namespace pivot
