// tokenizer.json has up to a million strings in two lists. They go straight into vectors; only what
// is left becomes a tree.
#include <nlohmann/json.hpp>

#include "data/hf/json.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

using nlohmann::json;

constexpr size_t kDeepest = 64;

/// Builds the tree; `file` may be null when there are no lists to take out.
class Reader : public nlohmann::json_sax<json> {
 public:
  Reader(TokenizerFile* file, json& root, const std::string& where)
      : file_(file), root_(root), where_(where) {}

  bool null() override { return scalar(nullptr); }
  bool boolean(bool v) override { return scalar(v); }
  bool number_integer(int64_t v) override { return number(v, static_cast<double>(v)); }
  bool number_unsigned(uint64_t v) override {
    return number(v > INT64_MAX ? -1 : static_cast<int64_t>(v), static_cast<double>(v), v);
  }
  bool number_float(double v, const std::string&) override {
    if (list_ == List::Scores && depth_ == 2 && item_ == 1) return score(v);
    if (list_ != List::None) fail_list();
    return scalar(v);
  }
  bool string(std::string& v) override;
  bool binary(json::binary_t&) override { throw_user("{}: binary data", where_); }
  bool start_object(size_t) override;
  bool end_object() override { return end(); }
  bool start_array(size_t) override;
  bool end_array() override { return end(); }
  bool key(std::string& v) override;
  bool parse_error(size_t at, const std::string&, const json::exception& e) override {
    throw_user("{}: bad JSON at byte {}: {}", where_, at, e.what());
  }

 private:
  enum class List { None, Ids, Scores, Merges };

  [[noreturn]] void fail_list() const {
    if (list_ == List::Merges) {
      throw_user(
          "{}: model: merges: every merge must be \"a b\" or [\"a\", \"b\"], number {} is not",
          where_, file_->merges.size());
    }
    throw_user("{}: model: vocab: {}, entry {} is not", where_,
               list_ == List::Ids ? "every token must have an id (a number from 0)"
                                  : "every entry must be [\"token\", score]",
               file_->tokens.size());
  }
  /// The place of the next value in the tree.
  json& place() {
    if (stack_.empty()) return root_;
    json& parent = *stack_.back();
    if (parent.is_object()) return parent[key_];
    parent.push_back(nullptr);
    return parent.back();
  }
  template <class T>
  bool scalar(const T& v) {
    if (list_ != List::None) fail_list();
    place() = v;
    return true;
  }
  template <class T>
  bool number(int64_t as_int, double as_double, T as_given) {
    if (list_ == List::Ids && depth_ == 1 && as_int >= 0) {
      file_->ids.push_back(as_int);
      return true;
    }
    if (list_ == List::Scores && depth_ == 2 && item_ == 1) return score(as_double);
    return scalar(as_given);
  }
  bool number(int64_t v, double as_double) { return number(v, as_double, v); }
  bool score(double v) {
    file_->scores.push_back(v);
    ++item_;
    return true;
  }
  bool in_model(const char* key) const {
    return file_ != nullptr && stack_.size() == 2 && in_model_ && key_ == key;
  }
  bool open(json value) {
    if (stack_.size() >= kDeepest) throw_user("{}: nested more than {} deep", where_, kDeepest);
    json& made = place();
    made = std::move(value);
    stack_.push_back(&made);
    return true;
  }
  bool end();

  TokenizerFile* file_;
  json& root_;
  const std::string& where_;
  std::vector<json*> stack_;
  std::string key_;
  bool in_model_ = false;
  List list_ = List::None;
  int depth_ = 0;  // brackets open inside the list, its own included
  int item_ = 0;   // elements of the entry so far
};

bool Reader::key(std::string& v) {
  if (list_ == List::Ids && depth_ == 1) {
    file_->tokens.push_back(std::move(v));
    return true;
  }
  if (list_ != List::None) fail_list();
  if (stack_.back()->contains(v))
    throw_user("{}: the key '{}' comes twice in an object", where_, v);
  if (stack_.size() == 1) in_model_ = v == "model";
  // What is taken out leaves a mark, so that it cannot come twice.
  key_ = std::move(v);
  return true;
}

bool Reader::start_object(size_t) {
  if (list_ != List::None) fail_list();
  if (in_model("vocab")) {
    place() = true;
    list_ = List::Ids;
    file_->form = TokenizerFile::Vocab::Ids;
    depth_ = 1;
    return true;
  }
  return open(json::object());
}

bool Reader::start_array(size_t) {
  if (list_ == List::None && (in_model("vocab") || in_model("merges"))) {
    place() = true;
    list_ = key_ == "vocab" ? List::Scores : List::Merges;
    if (list_ == List::Scores) file_->form = TokenizerFile::Vocab::Scores;
    if (list_ == List::Merges) file_->has_merges = true;
    depth_ = 1;
    return true;
  }
  if (list_ == List::None) return open(json::array());
  if (list_ == List::Ids || depth_ != 1) fail_list();
  depth_ = 2;
  item_ = 0;
  return true;
}

bool Reader::string(std::string& v) {
  if (list_ == List::None) {
    place() = std::move(v);
    return true;
  }
  if (list_ == List::Scores && depth_ == 2 && item_ == 0) {
    file_->tokens.push_back(std::move(v));
    ++item_;
    return true;
  }
  if (list_ != List::Merges) fail_list();
  if (depth_ == 2) {
    if (item_ == 0) file_->merges.emplace_back(std::move(v), std::string());
    if (item_ == 1) file_->merges.back().second = std::move(v);
    if (++item_ > 2) fail_list();
    return true;
  }
  if (v.starts_with("#version")) return true;
  const size_t space = v.find(' ');
  if (space == std::string::npos || v.find(' ', space + 1) != std::string::npos) fail_list();
  file_->merges.emplace_back(v.substr(0, space), v.substr(space + 1));
  return true;
}

bool Reader::end() {
  if (list_ == List::None) {
    stack_.pop_back();
    return true;
  }
  if (depth_ == 2 && item_ != 2) fail_list();
  if (--depth_ == 0) list_ = List::None;
  return true;
}

void parse(std::string_view bytes, Reader& reader) {
  json::sax_parse(bytes.begin(), bytes.end(), &reader);
}

}  // namespace

TokenizerFile::TokenizerFile() : rest(std::make_unique<json>()) {}
TokenizerFile::~TokenizerFile() = default;
TokenizerFile::TokenizerFile(TokenizerFile&&) noexcept = default;

TokenizerFile read_tokenizer_file(std::string_view bytes, const std::string& where) {
  TokenizerFile file;
  Reader reader(&file, *file.rest, where);
  parse(bytes, reader);
  if (!file.rest->is_object()) throw_user("{}: an object is needed", where);
  return file;
}

std::unique_ptr<json> read_json_object(std::string_view bytes, const std::string& where) {
  auto root = std::make_unique<json>();
  Reader reader(nullptr, *root, where);
  parse(bytes, reader);
  if (!root->is_object()) throw_user("{}: an object is needed", where);
  return root;
}

}  // namespace pivot::hf
