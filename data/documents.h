#pragma once
/// A stream of documents from text and JSON-lines files. Memory is bounded by the longest document.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_source.h"

namespace pivot {

struct Document {
  std::string text;  // valid UTF-8, not empty
  std::string file;
  int64_t line = 0;  // of the file, where the document starts (1-based)
};

struct DocumentOptions {
  std::vector<std::string> input = {};
  std::string split_on = {};
  std::string text_key = "text";
  std::string invalid_utf8 = "refuse";
  bool skip_bad = false;
  int64_t max_document = int64_t{64} << 20;

  template <class V>
  void visit(V&& v) {
    v("input", input, "text or JSON-lines files (.gz .dz .zst too), directories or globs");
    v("split_on", split_on,
      "text files: 'blank' (blank lines) or a literal such as <|endoftext|> between documents");
    v("text_key", text_key, "JSON lines: key that holds the text");
    v("invalid_utf8", invalid_utf8, "refuse, or replace by U+FFFD");
    v("skip_bad", skip_bad, "count and skip bad JSON lines instead of stopping");
    v("max_document", max_document, "longer documents are cut at the ends of lines (bytes)");
  }
};

struct DocumentCounts {
  int64_t documents = 0;
  int64_t bytes = 0;
  int64_t empty = 0;     // skipped
  int64_t cut = 0;       // extra documents made by max_document
  int64_t bad = 0;       // JSON lines skipped
  int64_t replaced = 0;  // invalid UTF-8 sequences replaced
};

class DocumentReader {
 public:
  /// Throws UserError on a bad option or an input that names no file.
  explicit DocumentReader(DocumentOptions options);
  ~DocumentReader();

  /// The next document; false at the end. Throws UserError naming file, line and byte on invalid
  /// UTF-8 and bad JSON.
  bool next(Document& document);

  const DocumentCounts& counts() const { return counts_; }
  const std::vector<std::string>& files() const { return files_; }
  /// Share of the input's bytes on disk that has been read, 0 to 1.
  double progress() const;
  int64_t input_bytes() const { return input_bytes_; }

 private:
  struct Separator {
    size_t begin = 0;  // relative to the unread part of the buffer
    size_t end = 0;
    bool found = false;
  };

  bool open_next_file();
  bool next_json_line(Document& document);
  bool next_text(Document& document);
  bool fill();
  bool take_line(std::string& line);
  Separator find_separator();
  std::string take(size_t bytes);
  void require_utf8(std::string& text, int64_t byte, int64_t line);
  bool accept(Document& document);
  [[noreturn]] void fail_line(int64_t line, const std::string& what) const;
  bool parse_line(const std::string& line, int64_t number, std::string& text);

  DocumentOptions options_;
  std::string separator_;  // literal; empty when whole files or blank lines separate
  bool blank_lines_ = false;
  std::vector<std::string> files_;
  size_t next_file_ = 0;
  std::string path_;
  TextFormat format_ = TextFormat::Text;
  std::unique_ptr<ByteSource> source_;
  std::string buffer_;   // read, not given out yet
  size_t begin_ = 0;     // start of the unread part of buffer_
  size_t searched_ = 0;  // no separator starts in the first bytes of the unread part
  int64_t offset_ = 0;   // of the unread part in the (decompressed) file
  int64_t line_ = 1;     // line of the unread part
  bool at_end_ = false;  // the file has been read to its end
  std::string pending_;  // rest of a long JSON document
  int64_t pending_line_ = 0;
  DocumentCounts counts_;
  int64_t input_bytes_ = 0;
  int64_t done_bytes_ = 0;  // files before the current one
};

/// Where a text longer than `limit` is cut: after the last line end in its first `limit` bytes (or
/// blank line, if one lies in the last quarter), else before the character that crosses the limit.
size_t find_document_cut(std::string_view text, size_t limit);

}  // namespace pivot
