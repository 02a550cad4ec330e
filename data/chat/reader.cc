#include <algorithm>
#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "data/chat/conversation.h"
#include "data/text_source.h"
#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot::chat {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunk = 1 << 18;
// A line longer than this is no conversation.
constexpr size_t kLongestLine = size_t{256} << 20;

bool is_json_list(const std::string& path) {
  std::string name = path;
  for (const char* const suffix : {".gz", ".zst"}) {
    if (name.ends_with(suffix)) name.resize(name.size() - std::string_view(suffix).size());
  }
  return name.ends_with(".json");
}

std::vector<std::string> files_of(const std::vector<std::string>& inputs) {
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    const std::vector<std::string> plain =
        is_json_list(input) ? expand_glob(input) : resolve_text_files({input});
    if (plain.empty()) throw_user("{}: no such file", input);
    files.insert(files.end(), plain.begin(), plain.end());
  }
  return files;
}

}  // namespace

struct ConversationReader::State {
  explicit State(ReaderOptions o) : options(std::move(o)) {
    if (options.input.empty()) throw_user("no conversations given: name files with --input");
    files = files_of(options.input);
    for (const std::string& path : files) bytes += static_cast<int64_t>(fs::file_size(path));
  }

  // The next JSON object's text; a .json file is a list of them. False at the end of the file.
  bool next_object(std::string& object) {
    if (!list) return next_line(object);
    if (list_at >= list->size()) return false;
    object = (*list)[list_at++].dump();
    line = static_cast<int64_t>(list_at);
    return true;
  }

  bool next_line(std::string& text) {
    for (;;) {
      const size_t end = buffer.find('\n', begin);
      if (end != std::string::npos || at_end) {
        if (end == std::string::npos && begin >= buffer.size()) return false;
        const size_t stop = std::min(end, buffer.size());
        text = buffer.substr(begin, stop - begin);
        begin = end == std::string::npos ? buffer.size() : end + 1;
        ++line;
        if (!text.empty() && text.back() == '\r') text.pop_back();
        if (text.find_first_not_of(" \t") == std::string::npos) continue;
        return true;
      }
      fill();
    }
  }

  void fill() {
    buffer.erase(0, begin);
    begin = 0;
    if (buffer.size() > kLongestLine)
      throw_user("{}: line {} is longer than {} bytes", path(), line + 1, kLongestLine);
    const size_t old = buffer.size();
    buffer.resize(old + kChunk);
    const size_t got = source->read({buffer.data() + old, kChunk});
    buffer.resize(old + got);
    at_end = got == 0;
  }

  bool open_next() {
    if (source != nullptr) done += source->consumed();
    source.reset();
    if (file >= files.size()) return false;
    source = open_byte_source(files[file++]);
    buffer.clear();
    begin = 0;
    line = 0;
    at_end = false;
    list.reset();
    if (is_json_list(path())) read_list();
    return true;
  }

  void read_list() {
    while (!at_end) fill();
    list = nlohmann::ordered_json::parse(buffer, nullptr, /*allow_exceptions=*/false);
    buffer.clear();
    if (list->is_discarded() || !list->is_array()) {
      throw_user("{}: not a JSON list of conversations (for one object a line, name it .jsonl)",
                 path());
    }
    list_at = 0;
  }

  const std::string& path() const { return files[file - 1]; }

  ReaderOptions options;
  ReaderCounts counts;
  std::vector<std::string> files;
  size_t file = 0;
  std::unique_ptr<ByteSource> source;
  std::string buffer;
  size_t begin = 0;
  bool at_end = false;
  int64_t line = 0;
  int64_t bytes = 0, done = 0;  // of all files; of those before this one
  std::optional<nlohmann::ordered_json> list;
  size_t list_at = 0;
};

ConversationReader::ConversationReader(ReaderOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}
ConversationReader::~ConversationReader() = default;

bool ConversationReader::next(Conversation& conversation) {
  State& s = *state_;
  std::string object;
  for (;;) {
    while (s.source == nullptr || !s.next_object(object)) {
      if (!s.open_next()) return false;
    }
    const std::string where = fmt::format("{}:{}", s.path(), s.line);
    try {
      if (find_invalid_utf8(object) != std::string::npos) throw_user("{}: not valid UTF-8", where);
      conversation = parse_conversation(object, s.options.format, where);
    } catch (const UserError& e) {
      if (!s.options.skip_bad)
        throw_user("{} (--skip-bad counts such lines and goes on)", e.what());
      ++s.counts.bad;
      continue;
    }
    conversation.file = s.path();
    conversation.line = s.line;
    ++s.counts.conversations;
    return true;
  }
}

const ReaderCounts& ConversationReader::counts() const {
  return state_->counts;
}

const std::vector<std::string>& ConversationReader::files() const {
  return state_->files;
}

double ConversationReader::progress() const {
  const State& s = *state_;
  const int64_t read = s.done + (s.source != nullptr ? s.source->consumed() : 0);
  return s.bytes > 0 ? static_cast<double>(read) / static_cast<double>(s.bytes) : 1;
}

}  // namespace pivot::chat
