#pragma once
/// TensorBoard event files: scalars only. TFRecord framing (u64 length, masked CRC32C of it, data,
/// masked CRC32C of the data) around protobuf messages that are encoded by hand.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pivot {

/// CRC-32C (Castagnoli), as iSCSI defines it.
uint32_t crc32c(std::string_view bytes);

class TensorBoardWriter {
 public:
  /// Creates DIR/events.out.tfevents.SECONDS.pivot. `step` > 0 tells TensorBoard that this file
  /// goes on from there: it drops what earlier files hold beyond it. Throws Error.
  TensorBoardWriter(const std::string& dir, int64_t step);
  /// One event. Throws Error (disk full).
  void scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  const std::string& path() const { return path_; }

 private:
  void append(const std::string& event);
  std::string path_;
};

}  // namespace pivot
