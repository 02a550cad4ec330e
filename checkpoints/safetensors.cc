#include "checkpoints/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

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

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<Item>& items,
                                     const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> names = {"__metadata__"};
  for (const Item& item : items) {
    PIVOT_CHECK(names.insert(item.name).second, "tensor name '{}' is reserved or given twice",
                item.name);
    auto bytes = static_cast<uint64_t>(safetensors_dtype_bytes(item.dtype));
    for (const int64_t d : item.shape) bytes *= static_cast<uint64_t>(d);
    header[item.name] = {{"dtype", item.dtype},
                         {"shape", item.shape},
                         {"data_offsets", {missing_, missing_ + bytes}}};
    missing_ += bytes;
  }
  // Metadata may hold any bytes of a prompt; JSON must be UTF-8.
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const uint64_t length = text.size();
  out_ = std::make_unique<OutputFile>(path);
  out_->write({reinterpret_cast<const char*>(&length), kLengthBytes});
  out_->write(text);
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::string_view bytes) {
  PIVOT_CHECK(bytes.size() <= missing_, "{} bytes beyond the last tensor", bytes.size());
  out_->write(bytes);
  missing_ -= bytes.size();
}

void SafetensorsWriter::commit() {
  PIVOT_CHECK(missing_ == 0, "{} bytes of tensors were not written", missing_);
  out_->commit();
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Widest elements first keeps every tensor aligned to its element without padding.
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& item : tensors) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return dtype_bytes(a->tensor.dtype) > dtype_bytes(b->tensor.dtype);
  });
  std::vector<SafetensorsWriter::Item> items;
  for (const NamedTensor* item : order) {
    const Shape& shape = item->tensor.shape;
    items.push_back({item->name,
                     dtype_name(item->tensor.dtype),
                     {shape.dim.begin(), shape.dim.begin() + shape.rank}});
  }
  SafetensorsWriter out(path, items, metadata);
  for (const NamedTensor* item : order) {
    out.write({static_cast<const char*>(item->tensor.data), item->tensor.bytes()});
  }
  out.commit();
}

}  // namespace pivot
