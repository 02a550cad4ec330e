#pragma once
/// Bytes of text files, plain or compressed, and which files an input names.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace pivot {

/// A file read from front to back; decompressed on the way.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills `out` as far as possible; 0 at the end. Throws UserError on damaged or truncated data.
  virtual size_t read(std::span<char> out) = 0;
  /// Bytes of the file on disk consumed so far.
  virtual int64_t consumed() const = 0;
};

/// `.gz` and `.dz` (dictzip) are inflated, all members one after the other; `.zst` is decompressed,
/// all frames; anything else is read as it is. Throws UserError if missing or unreadable.
std::unique_ptr<ByteSource> open_byte_source(const std::string& path);

enum class TextFormat { Text, JsonLines };
/// By the name without .gz, .dz or .zst: .jsonl and .ndjson are JSON lines, the rest is text.
/// Throws UserError for formats that are known and not read (.json, .parquet, .zip, ...).
TextFormat text_format(const std::string& path);

/// The files that a path, directory (searched in depth for .txt, .md, .text, .jsonl, .ndjson, plain
/// or compressed) or glob stands for, each input's sorted by name. Throws UserError when one names
/// none.
std::vector<std::string> resolve_text_files(const std::vector<std::string>& inputs);

/// Regular files that match a glob, sorted; `pattern` itself if it has no wildcard and exists.
std::vector<std::string> expand_glob(const std::string& pattern);

}  // namespace pivot
