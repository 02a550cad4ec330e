#include "train/tensorboard.h"

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "src/base/check.h"

namespace pivot {
namespace {

constexpr uint32_t kCastagnoli = 0x82F63B78U;  // reflected polynomial
constexpr uint32_t kMaskDelta = 0xA282EAD8U;   // of the TFRecord format

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kCastagnoli : 0U);
    table[i] = crc;
  }
  return table;
}

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + kMaskDelta;
}

template <class T>
void put_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>((value >> (8 * i)) & 0xFFU);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7FU) | 0x80U);
  out += static_cast<char>(value);
}

// Protobuf fields: key = number * 8 + wire type (0 varint, 1 eight bytes, 2 counted, 5 four bytes).
void put_double(std::string& out, uint32_t number, double value) {
  put_varint(out, number << 3 | 1U);
  put_little_endian(out, std::bit_cast<uint64_t>(value));
}
void put_float(std::string& out, uint32_t number, float value) {
  put_varint(out, number << 3 | 5U);
  put_little_endian(out, std::bit_cast<uint32_t>(value));
}
void put_integer(std::string& out, uint32_t number, int64_t value) {
  put_varint(out, number << 3);
  put_varint(out, static_cast<uint64_t>(value));
}
void put_bytes(std::string& out, uint32_t number, std::string_view bytes) {
  put_varint(out, number << 3 | 2U);
  put_varint(out, bytes.size());
  out += bytes;
}

double now_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// Event { 1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary, 7: SessionLog }
std::string event(int64_t step) {
  std::string out;
  put_double(out, 1, now_seconds());
  if (step > 0) put_integer(out, 2, step);
  return out;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0U;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xFFU];
  return ~crc;
}

TensorBoardWriter::TensorBoardWriter(const std::string& dir, int64_t step) {
  // Two sessions may begin within a second; TensorBoard reads the files in the order of their
  // names.
  auto second = static_cast<int64_t>(now_seconds());
  do {
    path_ = fmt::format("{}/events.out.tfevents.{:010}.pivot", dir, second++);
  } while (std::filesystem::exists(path_));
  std::string version = event(0);
  put_bytes(version, 3, "brain.Event:2");
  append(version);
  if (step > 0) {
    constexpr int64_t kStart = 1;  // SessionLog.status
    std::string session;
    put_integer(session, 1, kStart);
    std::string start = event(step + 1);
    put_bytes(start, 7, session);
    append(start);
  }
}

void TensorBoardWriter::scalars(int64_t step,
                                const std::vector<std::pair<std::string, double>>& values) {
  // Summary { 1: repeated Value { 1: string tag, 2: float simple_value } }
  std::string summary;
  for (const auto& [tag, value] : values) {
    std::string entry;
    put_bytes(entry, 1, tag);
    put_float(entry, 2, static_cast<float>(value));
    put_bytes(summary, 1, entry);
  }
  std::string out = event(step);
  put_bytes(out, 5, summary);
  append(out);
}

void TensorBoardWriter::append(const std::string& event_bytes) {
  std::string record;
  put_little_endian(record, static_cast<uint64_t>(event_bytes.size()));
  put_little_endian(record, masked_crc(record));
  record += event_bytes;
  put_little_endian(record, masked_crc(event_bytes));
  std::ofstream file(path_, std::ios::binary | std::ios::app);
  if (!file.write(record.data(), static_cast<std::streamsize>(record.size())).flush()) {
    throw_error("{}: cannot be written: {}", path_, std::strerror(errno));
  }
}

}  // namespace pivot
