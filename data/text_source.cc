#include "data/text_source.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include <glob.h>
#include <zlib.h>
#include <zstd.h>

#include "src/base/check.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 17;  // below L2, above the cost of a system call

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(const std::string& path)
      : path_(path), file_(std::fopen(path.c_str(), "rb")) {
    if (file_ == nullptr) throw_user("cannot read {}: {}", path, std::strerror(errno));
    if (fs::is_directory(path)) {
      std::fclose(file_);
      throw_user("{} is a directory, a file is needed", path);
    }
  }
  ~PlainSource() override { std::fclose(file_); }
  PlainSource(const PlainSource&) = delete;
  PlainSource& operator=(const PlainSource&) = delete;

  size_t read(std::span<char> out) override {
    const size_t got = std::fread(out.data(), 1, out.size(), file_);
    if (got < out.size() && std::ferror(file_) != 0) {
      throw_user("cannot read {}: {}", path_, std::strerror(errno));
    }
    consumed_ += static_cast<int64_t>(got);
    return got;
  }
  int64_t consumed() const override { return consumed_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::FILE* file_;
  int64_t consumed_ = 0;
};

class GzipSource : public ByteSource {
 public:
  explicit GzipSource(const std::string& path) : file_(path), buffer_(kBufferBytes) {
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw_error("zlib does not start");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  size_t read(std::span<char> out) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    while (stream_.avail_out > 0 && fill()) {
      if (between_members_) start_member();
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        between_members_ = true;
      } else if (result != Z_OK) {
        throw_user("{}: damaged gzip data near byte {}: {}", file_.path(),
                   consumed() - stream_.avail_in,
                   stream_.msg != nullptr ? stream_.msg : "inflate failed");
      }
    }
    if (stream_.avail_out > 0 && !between_members_) {
      throw_user("{}: gzip data ends too early; the file is truncated", file_.path());
    }
    return out.size() - stream_.avail_out;
  }
  int64_t consumed() const override { return file_.consumed(); }

 private:
  bool fill() {
    if (stream_.avail_in > 0) return true;
    const size_t got = file_.read(buffer_);
    stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_in = static_cast<uInt>(got);
    return got > 0;
  }
  void start_member() {
    inflateReset(&stream_);
    between_members_ = false;
  }

  PlainSource file_;
  std::vector<char> buffer_;
  z_stream stream_ = {};
  bool between_members_ = false;  // a member ended; the file may end here or another may follow
};

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(const std::string& path)
      : file_(path), buffer_(kBufferBytes), stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw_error("zstd does not start");
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  size_t read(std::span<char> out) override {
    ZSTD_outBuffer target = {out.data(), out.size(), 0};
    while (target.pos < target.size) {
      if (input_.pos == input_.size) {
        input_ = {buffer_.data(), file_.read(buffer_), 0};
        // Nothing more to read: what the decoder still holds comes out below, then the end.
        if (input_.size == 0 && expected_ == 0) break;
      }
      const size_t before = target.pos;
      expected_ = ZSTD_decompressStream(stream_, &target, &input_);
      if (ZSTD_isError(expected_) != 0) {
        throw_user("{}: damaged zstd data near byte {}: {}", file_.path(), consumed(),
                   ZSTD_getErrorName(expected_));
      }
      if (input_.size == 0 && target.pos == before && expected_ != 0) {
        throw_user("{}: zstd data ends too early; the file is truncated", file_.path());
      }
    }
    return target.pos;
  }
  int64_t consumed() const override { return file_.consumed(); }

 private:
  PlainSource file_;
  std::vector<char> buffer_;
  ZSTD_DStream* stream_;
  ZSTD_inBuffer input_ = {nullptr, 0, 0};
  size_t expected_ = 1;  // 0: a frame is complete and flushed
};

bool ends_with(const std::string& text, std::string_view suffix) {
  return text.size() >= suffix.size() &&
         text.compare(text.size() - suffix.size(), suffix.size(), suffix) == 0;
}

std::string without_compression(const std::string& path) {
  for (const std::string_view suffix : {".gz", ".dz", ".zst"}) {
    if (ends_with(path, suffix)) return path.substr(0, path.size() - suffix.size());
  }
  return path;
}

bool is_text_name(const std::string& path) {
  const std::string name = without_compression(path);
  for (const std::string_view suffix : {".txt", ".text", ".md", ".jsonl", ".ndjson"}) {
    if (ends_with(name, suffix)) return true;
  }
  return false;
}

std::vector<std::string> text_files_below(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file() && is_text_name(entry.path().string())) {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::unique_ptr<ByteSource> open_byte_source(const std::string& path) {
  if (ends_with(path, ".gz") || ends_with(path, ".dz")) return std::make_unique<GzipSource>(path);
  if (ends_with(path, ".zst")) return std::make_unique<ZstdSource>(path);
  return std::make_unique<PlainSource>(path);
}

TextFormat text_format(const std::string& path) {
  const std::string name = without_compression(path);
  if (ends_with(name, ".jsonl") || ends_with(name, ".ndjson")) return TextFormat::JsonLines;
  for (const std::string_view other :
       {".json", ".parquet", ".arrow", ".zip", ".tar", ".tgz", ".xz", ".bz2", ".h5"}) {
    if (!ends_with(name, other)) continue;
    throw_user("{}: {} files are not read; convert to text or to JSON lines (one object a line)",
               path, other);
  }
  return TextFormat::Text;
}

std::vector<std::string> expand_glob(const std::string& pattern) {
  glob_t found = {};
  std::vector<std::string> files;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) {
      if (!fs::is_directory(found.gl_pathv[i])) files.emplace_back(found.gl_pathv[i]);
    }
  }
  ::globfree(&found);
  return files;
}

std::vector<std::string> resolve_text_files(const std::vector<std::string>& inputs) {
  if (inputs.empty()) throw_user("no input: name files, directories or globs with --input");
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    if (fs::is_directory(input)) {
      const std::vector<std::string> below = text_files_below(input);
      if (below.empty()) {
        throw_user("{}: no .txt, .text, .md, .jsonl or .ndjson files (plain, .gz, .dz or .zst)",
                   input);
      }
      files.insert(files.end(), below.begin(), below.end());
    } else if (fs::exists(input)) {
      files.push_back(input);
    } else if (const std::vector<std::string> matched = expand_glob(input); !matched.empty()) {
      files.insert(files.end(), matched.begin(), matched.end());
    } else {
      throw_user("cannot read {}: no such file or directory", input);
    }
  }
  for (const std::string& file : files) text_format(file);
  return files;
}

}  // namespace pivot
