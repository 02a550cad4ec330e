#include <algorithm>
#include <array>
#include <filesystem>

#include "data/chat/conversation.h"
#include "data/text_source.h"
#include "src/base/check.h"

namespace pivot::chat {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunk = size_t{1} << 18;         // of a file at a time
constexpr size_t kLongestLine = size_t{64} << 20;  // above any conversation a model can read

bool is_conversation_file(std::string_view name) {
  for (const std::string_view suffix : {".gz", ".zst"}) {
    if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  }
  return name.ends_with(".jsonl") || name.ends_with(".ndjson") || name.ends_with(".json");
}

std::vector<std::string> files_of(const std::string& input) {
  std::vector<std::string> files;
  if (fs::is_directory(input)) {
    for (const auto& entry : fs::recursive_directory_iterator(input)) {
      if (entry.is_regular_file() && is_conversation_file(entry.path().string())) {
        files.push_back(entry.path().string());
      }
    }
    std::sort(files.begin(), files.end());
    if (files.empty()) throw_user("{}: no .jsonl, .ndjson or .json files (.gz .zst too)", input);
    return files;
  }
  files = fs::exists(input) ? std::vector<std::string>{input} : expand_glob(input);
  if (files.empty()) throw_user("cannot read {}: no such file or directory", input);
  for (const std::string& file : files) {
    if (!is_conversation_file(file)) {
      throw_user("{}: conversations are read from .jsonl, .ndjson and .json files (.gz .zst too)",
                 file);
    }
  }
  return files;
}

/// The JSON objects of a file, one a line or elements of one list, as text.
class Objects {
 public:
  explicit Objects(std::string path) : path_(std::move(path)), source_(open_byte_source(path_)) {}

  /// False at the end. Throws UserError where the file cannot be split into objects.
  bool next(std::string& text) {
    if (!begun_) begin();
    return in_list_ ? next_element(text) : next_line(text);
  }
  int64_t line() const { return line_; }
  const std::string& path() const { return path_; }
  int64_t consumed() const { return source_->consumed(); }

 private:
  // More of the file behind what is unread; false at its end.
  bool fill() {
    if (at_end_) return false;
    buffer_.erase(0, at_);
    at_ = 0;
    if (buffer_.size() > kLongestLine) {
      throw_user("{}:{}: longer than {} MiB, which no conversation is", path_, next_line_,
                 kLongestLine >> 20);
    }
    const size_t old = buffer_.size();
    buffer_.resize(old + kChunk);
    const size_t got = source_->read({buffer_.data() + old, kChunk});
    buffer_.resize(old + got);
    at_end_ = got < kChunk;
    return got > 0;
  }

  // The next character that is no space, not consumed; '\0' at the end.
  char skip_space() {
    for (;;) {
      for (; at_ < buffer_.size(); ++at_) {
        const char c = buffer_[at_];
        if (c == '\n') ++next_line_;
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return c;
      }
      if (!fill()) return '\0';
    }
  }

  void begin() {
    begun_ = true;
    fill();
    if (buffer_.starts_with("\xEF\xBB\xBF")) at_ = 3;  // a byte order mark
    in_list_ = skip_space() == '[';
    if (in_list_) ++at_;
  }

  bool next_line(std::string& text) {
    if (skip_space() == '\0') return false;
    line_ = next_line_;
    size_t end = buffer_.find('\n', at_);
    while (end == std::string::npos) {
      const size_t searched = buffer_.size() - at_;
      if (!fill()) break;
      end = buffer_.find('\n', at_ + searched);
    }
    const size_t stop = std::min(end, buffer_.size());
    text.assign(buffer_, at_, stop - at_);
    at_ = stop;
    return true;
  }

  [[noreturn]] void fail(const char* what) const {
    throw_user("{}:{}: {}", path_, next_line_, what);
  }

  bool next_element(std::string& text) {
    const char c = skip_space();
    if (c == ']' || done_) {
      if (c == ']') ++at_;
      done_ = true;
      if (skip_space() != '\0') fail("something follows the list of conversations");
      return false;
    }
    if (c == '\0') fail("the list of conversations has no end; the file is cut short");
    line_ = next_line_;
    take_element(text);
    const char separator = skip_space();
    if (separator == ',') {
      ++at_;
      if (skip_space() == ']') fail("a comma before the end of the list");
    } else if (separator != ']') {
      fail("',' or ']' is expected in the list of conversations");
    }
    return true;
  }

  // Up to the end of an element: brackets are counted, strings skipped; its JSON is checked later.
  void take_element(std::string& text) {
    size_t length = 0;
    int64_t open = 0;
    bool in_string = false, escaped = false;
    for (;; ++length) {
      if (at_ + length >= buffer_.size() && !fill()) {
        fail("the list of conversations has no end; the file is cut short");
      }
      const char c = buffer_[at_ + length];
      if (c == '\n') ++next_line_;
      if (in_string) {
        in_string = escaped || c != '"';
        escaped = !escaped && c == '\\';
        continue;
      }
      if (open == 0 && (c == ',' || c == ']')) break;
      if (c == '"') in_string = true;
      if (c == '{' || c == '[') ++open;
      if (c == '}' || c == ']') --open;
      if (open == 0 && (c == '}' || c == ']')) {
        ++length;
        break;
      }
    }
    text.assign(buffer_, at_, length);
    at_ += length;
  }

  std::string path_;
  std::unique_ptr<ByteSource> source_;
  std::string buffer_;
  size_t at_ = 0;
  int64_t line_ = 0, next_line_ = 1;  // of the object given out, of what comes next
  bool begun_ = false, in_list_ = false, at_end_ = false, done_ = false;
};

}  // namespace

struct ConversationReader::State {
  ReaderOptions options;
  ReaderCounts counts;
  std::vector<std::string> files;
  size_t next_file = 0;
  std::unique_ptr<Objects> objects;
  int64_t bytes = 0, done = 0;  // of all files, and of those before the current one

  // The next object's text; false at the end of the last file.
  bool next(std::string& text) {
    for (;;) {
      if (objects != nullptr && objects->next(text)) return true;
      if (objects != nullptr) done += objects->consumed();
      objects.reset();
      if (next_file == files.size()) return false;
      objects = std::make_unique<Objects>(files[next_file++]);
    }
  }
};

ConversationReader::ConversationReader(ReaderOptions options) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.options = std::move(options);
  require_format(s.options.format);
  if (s.options.input.empty()) throw_user("no conversations: name files with --input");
  for (const std::string& input : s.options.input) {
    const std::vector<std::string> files = files_of(input);
    s.files.insert(s.files.end(), files.begin(), files.end());
  }
  for (const std::string& file : s.files) s.bytes += static_cast<int64_t>(fs::file_size(file));
}
ConversationReader::~ConversationReader() = default;

bool ConversationReader::next(Conversation& conversation) {
  State& s = *state_;
  std::string text;
  while (s.next(text)) {
    const std::string where = fmt::format("{}:{}", s.objects->path(), s.objects->line());
    try {
      conversation = parse_conversation(text, s.options.format, where);
    } catch (const UserError& e) {
      if (!s.options.skip_bad)
        throw_user("{} (--skip-bad counts such lines and goes on)", e.what());
      ++s.counts.bad;
      continue;
    }
    conversation.file = s.objects->path();
    conversation.line = s.objects->line();
    ++s.counts.conversations;
    return true;
  }
  return false;
}

const ReaderCounts& ConversationReader::counts() const {
  return state_->counts;
}

const std::vector<std::string>& ConversationReader::files() const {
  return state_->files;
}

double ConversationReader::progress() const {
  const State& s = *state_;
  const int64_t read = s.done + (s.objects != nullptr ? s.objects->consumed() : 0);
  return s.bytes == 0 ? 1 : static_cast<double>(read) / static_cast<double>(s.bytes);
}

}  // namespace pivot::chat
