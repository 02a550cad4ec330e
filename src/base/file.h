#pragma once
/// Files that are read whole or mapped, and written whole or not at all.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace pivot {

/// Read-only memory map of a whole file; an empty file gives an empty span.
class MappedFile {
 public:
  /// Throws UserError if the file is missing, a directory or unreadable.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  /// Says that this part of bytes() is done with: it no longer counts as memory of the process and
  /// comes from the file again if it is asked for after all. For files larger than memory.
  void release(std::span<const std::byte> part) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Throws UserError if the file is missing or unreadable.
std::string read_file(const std::string& path);

/// Writes to `path`.tmp, fsyncs, renames, fsyncs the directory. Throws Error (disk full,
/// permission) and then leaves the old file, if any, as it was.
void write_file_atomically(const std::string& path, std::string_view bytes);

/// Flushes a file or a directory to the disk.
void fsync_path(const std::string& path);

/// Free bytes for this user on the file system that holds `path` (or its nearest existing parent).
int64_t free_disk_bytes(const std::string& path);

/// Throws Error naming both figures when fewer than `needed` bytes are free at `path`.
void require_free_disk(const std::string& path, int64_t needed, std::string_view what);

/// XXH3-64 as 16 hex digits: identity of tokenizers, shards and checkpoint files.
std::string hash_hex(std::string_view bytes);
std::string hash_file_hex(const std::string& path);
/// Identity of a tokenizer: hash_hex of its kind, a line end and the bytes of its file.
std::string tokenizer_hash(std::string_view kind, std::string_view bytes);

}  // namespace pivot
