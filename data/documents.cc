#include "data/documents.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "data/utf8.h"
#include "src/base/check.h"
#include "src/base/options.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr size_t kReadBytes = size_t{1} << 18;
constexpr size_t kMaxLineBytes = size_t{1} << 28;  // a JSON line beyond 256 MiB is a wrong file
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

bool only_whitespace(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_blank(c) || c == '\n'; });
}

int64_t count_lines(std::string_view text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

size_t find_document_cut(std::string_view text, size_t limit) {
  const std::string_view head = text.substr(0, limit);
  const size_t blank = head.rfind("\n\n");
  if (blank != std::string_view::npos && blank + 2 > limit - limit / 4) return blank + 2;
  const size_t line = head.rfind('\n');
  if (line != std::string_view::npos) return line + 1;
  size_t cut = limit;
  while (cut > 0 && limit - cut < 3 && (static_cast<uint8_t>(text[cut]) & 0xC0) == 0x80) --cut;
  return cut;
}

DocumentReader::DocumentReader(DocumentOptions options) : options_(std::move(options)) {
  if (options_.invalid_utf8 != "refuse" && options_.invalid_utf8 != "replace") {
    throw_user("--invalid-utf8 {}: must be refuse or replace", options_.invalid_utf8);
  }
  if (options_.max_document < 64) {
    throw_user("--max-document {}: must be at least 64 bytes", options_.max_document);
  }
  blank_lines_ = options_.split_on == "blank";
  if (!blank_lines_) separator_ = options_.split_on;
  files_ = resolve_text_files(options_.input);
  for (const std::string& file : files_) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(file, error);
    if (!error) input_bytes_ += static_cast<int64_t>(bytes);
  }
}

DocumentReader::~DocumentReader() = default;

double DocumentReader::progress() const {
  const int64_t now = done_bytes_ + (source_ ? source_->consumed() : 0);
  return input_bytes_ == 0 ? 1.0 : static_cast<double>(now) / static_cast<double>(input_bytes_);
}

bool DocumentReader::next(Document& document) {
  for (;;) {
    if (!source_ && !open_next_file()) return false;
    document.file = path_;
    const bool got =
        format_ == TextFormat::JsonLines ? next_json_line(document) : next_text(document);
    if (!got) {
      done_bytes_ += source_->consumed();
      source_.reset();
    } else if (accept(document)) {
      return true;
    }
  }
}

bool DocumentReader::accept(Document& document) {
  if (only_whitespace(document.text)) {
    ++counts_.empty;
    return false;
  }
  ++counts_.documents;
  counts_.bytes += static_cast<int64_t>(document.text.size());
  return true;
}

bool DocumentReader::open_next_file() {
  if (next_file_ == files_.size()) return false;
  path_ = files_[next_file_++];
  format_ = text_format(path_);
  source_ = open_byte_source(path_);
  buffer_.clear();
  begin_ = 0;
  searched_ = 0;
  offset_ = 0;
  line_ = 1;
  at_end_ = false;
  fill();
  if (buffer_.empty()) throw_user("{} is empty", path_);
  if (buffer_.compare(0, kByteOrderMark.size(), kByteOrderMark) == 0) {
    take(kByteOrderMark.size());
  }
  return true;
}

/// Reads more of the file behind the unread part; false once there is no more.
bool DocumentReader::fill() {
  if (at_end_) return false;
  buffer_.erase(0, begin_);
  begin_ = 0;
  // Doubling keeps the cost of moving the unread part linear in the document's length.
  const size_t old = buffer_.size();
  const size_t want = std::max(kReadBytes, old);
  buffer_.resize(old + want);
  const size_t got = source_->read(std::span(buffer_).subspan(old));
  buffer_.resize(old + got);
  at_end_ = got < want;
  return got > 0;
}

std::string DocumentReader::take(size_t bytes) {
  std::string text = buffer_.substr(begin_, bytes);
  begin_ += bytes;
  searched_ = 0;
  offset_ += static_cast<int64_t>(bytes);
  line_ += count_lines(text);
  return text;
}

DocumentReader::Separator DocumentReader::find_separator() {
  const std::string_view text = std::string_view(buffer_).substr(begin_);
  if (!blank_lines_) {
    if (separator_.empty()) return {};
    const size_t at = text.find(separator_, searched_);
    if (at != std::string_view::npos) return {at, at + separator_.size(), true};
    searched_ = text.size() < separator_.size() ? 0 : text.size() - separator_.size() + 1;
    return {};
  }
  for (size_t at = text.find('\n', searched_); at != std::string_view::npos;
       at = text.find('\n', at + 1)) {
    size_t end = at + 1;  // behind the last line end of the blank lines seen
    size_t scan = end;
    while (scan < text.size() && (is_blank(text[scan]) || text[scan] == '\n')) {
      if (text[scan++] == '\n') end = scan;
    }
    searched_ = at;
    if (scan == text.size() && !at_end_) return {};  // blank lines may go on in the next read
    if (end > at + 1) return {at + 1, end, true};
  }
  return {};
}

bool DocumentReader::next_text(Document& document) {
  const size_t limit = static_cast<size_t>(options_.max_document);
  Separator separator = find_separator();
  while (!separator.found && buffer_.size() - begin_ <= limit && fill()) {
    separator = find_separator();
  }
  const std::string_view text = std::string_view(buffer_).substr(begin_);
  if (text.empty()) return false;
  const size_t length = separator.found ? separator.begin : text.size();
  const int64_t byte = offset_;
  document.line = line_;
  if (length > limit) {
    document.text = take(find_document_cut(text, limit));
    ++counts_.cut;
  } else {
    document.text = take(length);
    if (separator.found) take(separator.end - separator.begin);
  }
  require_utf8(document.text, byte, document.line);
  return true;
}

bool DocumentReader::take_line(std::string& line) {
  for (;;) {
    const size_t end = buffer_.find('\n', begin_ + searched_);
    if (end != std::string::npos) {
      line = take(end + 1 - begin_);
      line.pop_back();
      return true;
    }
    searched_ = buffer_.size() - begin_;
    if (searched_ > kMaxLineBytes) {
      fail_line(line_, fmt::format("the line is longer than {}; is this a JSON-lines file?",
                                   format_bytes(static_cast<double>(kMaxLineBytes))));
    }
    if (!fill()) break;
  }
  if (begin_ == buffer_.size()) return false;
  line = take(buffer_.size() - begin_);
  return true;
}

bool DocumentReader::next_json_line(Document& document) {
  const size_t limit = static_cast<size_t>(options_.max_document);
  std::string line;
  while (pending_.empty()) {
    const int64_t byte = offset_;
    const int64_t number = line_;
    if (!take_line(line)) return false;
    if (only_whitespace(line)) continue;
    require_utf8(line, byte, number);
    if (!parse_line(line, number, pending_)) continue;
    pending_line_ = number;
    if (pending_.empty()) ++counts_.empty;
  }
  document.line = pending_line_;
  if (pending_.size() <= limit) {
    document.text = std::exchange(pending_, {});
  } else {
    const size_t cut = find_document_cut(pending_, limit);
    document.text = pending_.substr(0, cut);
    pending_.erase(0, cut);
    ++counts_.cut;
  }
  return true;
}

bool DocumentReader::parse_line(const std::string& line, int64_t number, std::string& text) {
  std::string why;
  try {
    const nlohmann::json value = nlohmann::json::parse(line);
    if (!value.is_object()) {
      why = "not a JSON object";
    } else if (!value.contains(options_.text_key)) {
      std::string keys;
      for (const auto& item : value.items()) keys += (keys.empty() ? "" : ", ") + item.key();
      why = fmt::format("no key '{}' (keys: {}); choose with --text-key", options_.text_key, keys);
    } else if (!value[options_.text_key].is_string()) {
      why = fmt::format("'{}' is not a string", options_.text_key);
    } else {
      text = value[options_.text_key].get<std::string>();
      return true;
    }
  } catch (const nlohmann::json::exception& e) {
    why = fmt::format("bad JSON: {}", e.what());
  }
  if (!options_.skip_bad) fail_line(number, why + " (--skip-bad counts and skips such lines)");
  ++counts_.bad;
  return false;
}

void DocumentReader::fail_line(int64_t line, const std::string& what) const {
  throw_user("{}:{}: {}", path_, line, what);
}

void DocumentReader::require_utf8(std::string& text, int64_t byte, int64_t line) {
  const size_t bad = find_invalid_utf8(text);
  if (bad == std::string::npos) return;
  if (options_.invalid_utf8 == "refuse") {
    const std::string_view before = std::string_view(text).substr(0, bad);
    throw_user(
        "{}:{}: invalid UTF-8 at byte {} (0x{:02x}); convert the file, or use --invalid-utf8 "
        "replace",
        path_, line + count_lines(before), byte + static_cast<int64_t>(bad),
        static_cast<unsigned>(static_cast<uint8_t>(text[bad])));
  }
  size_t replaced = 0;
  text = replace_invalid_utf8(text, &replaced);
  counts_.replaced += static_cast<int64_t>(replaced);
}

}  // namespace pivot
