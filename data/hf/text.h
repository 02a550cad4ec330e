#pragma once
/// A text on its way to tokens: what it has become, and which bytes of the given text each of its
/// bytes stands for.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pivot::hf {

/// Half-open.
struct Range {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

class Text {
 public:
  /// `bytes`, which must outlive this, begin at `base` of the given text. Without `track` origins
  /// are not kept once the text changes.
  Text(std::string_view bytes, uint32_t base, bool track)
      : view_(bytes), base_(base), track_(track) {}
  /// A part of another text, which must outlive this.
  Text(const Text& whole, Range part)
      : view_(whole.view_.substr(part.begin, part.size())),
        base_(whole.base_ + part.begin),
        track_(whole.track_) {
    if (whole.origins_.empty()) return;
    origins_.assign(whole.origins_.begin() + part.begin, whole.origins_.begin() + part.end);
  }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  Text(Text&&) = delete;

  std::string_view bytes() const { return view_; }
  bool empty() const { return view_.empty(); }
  bool tracked() const { return track_; }
  /// Where the bytes [begin, end) come from. Meaningless for a changed text without `track`.
  Range origin(uint32_t begin, uint32_t end) const {
    if (begin == end) {
      const uint32_t at = begin < view_.size() ? origin_of(begin).begin
                          : begin > 0          ? origin_of(begin - 1).end
                                               : base_;
      return {at, at};
    }
    return {origin_of(begin).begin, origin_of(end - 1).end};
  }

 private:
  friend class TextEdit;
  Range origin_of(uint32_t at) const {
    return origins_.empty() ? Range{base_ + at, base_ + at + 1} : origins_[at];
  }

  std::string_view view_;
  std::string owned_;           // what view_ shows once the text has changed
  std::vector<Range> origins_;  // one a byte; empty: byte i is byte base_ + i
  uint32_t base_;
  bool track_;
};

/// Rewrites a text from left to right.
class TextEdit {
 public:
  explicit TextEdit(Text& text) : text_(text) { bytes_.reserve(text.bytes().size() + 16); }

  /// The old bytes [begin, end) as they are.
  void keep(uint32_t begin, uint32_t end) {
    bytes_.append(text_.view_.substr(begin, end - begin));
    if (!text_.track_) return;
    for (uint32_t i = begin; i < end; ++i) origins_.push_back(text_.origin_of(i));
  }
  /// New bytes in place of the old [begin, end), which is not empty.
  void replace(uint32_t begin, uint32_t end, std::string_view bytes) {
    bytes_.append(bytes);
    if (text_.track_) origins_.insert(origins_.end(), bytes.size(), text_.origin(begin, end));
  }
  /// New bytes in front of the old byte `at`, whose origin they share.
  void insert(uint32_t at, std::string_view bytes) {
    bytes_.append(bytes);
    if (text_.track_) origins_.insert(origins_.end(), bytes.size(), text_.origin(at, at + 1));
  }
  uint32_t size() const { return static_cast<uint32_t>(bytes_.size()); }
  /// Puts the result into the text.
  void finish() {
    text_.owned_ = std::move(bytes_);
    text_.view_ = text_.owned_;
    text_.origins_ = std::move(origins_);
  }

 private:
  Text& text_;
  std::string bytes_;
  std::vector<Range> origins_;
};

}  // namespace pivot::hf
