#include "data/hf/normalizer.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>
#include <utf8proc.h>

#include "data/hf/characters.h"
#include "data/hf/pattern.h"
#include "data/hf/unicode_tables.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(NormalForm form) : form_(form) {}
  void apply(Text& text) const override { normalize_unicode(text, form_); }

 private:
  NormalForm form_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(Text& text) const override {
    if (text.empty() || prefix_.empty()) return;
    TextEdit edit(text);
    edit.insert(0, prefix_);
    edit.keep(0, static_cast<uint32_t>(text.bytes().size()));
    edit.finish();
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(Text& text) const override {
    std::vector<Part> parts;
    pattern_.split(text.bytes(), 0, parts);
    const bool any = std::any_of(parts.begin(), parts.end(), [](const Part& p) { return p.match; });
    if (!any) return;
    TextEdit edit(text);
    for (const Part& p : parts) {
      if (p.match) {
        edit.replace(p.range.begin, p.range.end, content_);
      } else {
        edit.keep(p.range.begin, p.range.end);
      }
    }
    edit.finish();
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// Calls change(code, edit, begin, end) for every character: it keeps, replaces or drops it.
template <class Change>
void edit_chars(Text& text, const Change& change) {
  TextEdit edit(text);
  const std::string_view bytes = text.bytes();
  for (uint32_t at = 0; at < bytes.size();) {
    const Char c = char_at(bytes.data() + at);
    change(c.code, edit, at, at + c.bytes);
    at += c.bytes;
  }
  edit.finish();
}

class Lowercase : public Normalizer {
 public:
  void apply(Text& text) const override {
    edit_chars(text, [](uint32_t code, TextEdit& edit, uint32_t begin, uint32_t end) {
      std::string small;
      append_char(small, lower(code));
      if (code == 0x130) append_char(small, 0x307);  // the only one that becomes two
      edit.replace(begin, end, small);
    });
  }

 private:
  static uint32_t lower(uint32_t code) {
    if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
    if (code == 0x130) return 'i';
    const auto list = new_lower_case();
    const auto it = std::lower_bound(list.begin(), list.end(), code,
                                     [](const LowerCase& l, uint32_t c) { return l.upper < c; });
    if (it != list.end() && it->upper == code) return it->lower;
    return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
  }
};

class StripAccents : public Normalizer {
 public:
  void apply(Text& text) const override {
    edit_chars(text, [](uint32_t code, TextEdit& edit, uint32_t begin, uint32_t end) {
      if (!is_mark(code)) edit.keep(begin, end);
    });
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(Text& text) const override {
    const std::string_view bytes = text.bytes();
    uint32_t begin = 0;
    auto end = static_cast<uint32_t>(bytes.size());
    while (left_ && begin < end && is_space(char_at(bytes.data() + begin).code)) {
      begin += char_at(bytes.data() + begin).bytes;
    }
    while (right_ && begin < end && is_space(char_before(bytes.data() + end).code)) {
      end -= char_before(bytes.data() + end).bytes;
    }
    TextEdit edit(text);
    edit.keep(begin, end);
    edit.finish();
  }

 private:
  bool left_, right_;
};

class ByteLevelForm : public Normalizer {
 public:
  void apply(Text& text) const override {
    const std::string_view bytes = text.bytes();
    TextEdit edit(text);
    for (uint32_t i = 0; i < bytes.size(); ++i) {
      edit.replace(i, i + 1, to_byte_level(bytes.substr(i, 1)));
    }
    edit.finish();
  }
};

/// SentencePiece's own cleaning: control characters go, others become spaces.
class Nmt : public Normalizer {
 public:
  void apply(Text& text) const override {
    edit_chars(text, [](uint32_t code, TextEdit& edit, uint32_t begin, uint32_t end) {
      if (removed(code)) return;
      if (blank(code)) {
        edit.replace(begin, end, " ");
      } else {
        edit.keep(begin, end);
      }
    });
  }

 private:
  static bool removed(uint32_t c) {
    return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
           c == 0x9F;
  }
  static bool blank(uint32_t c) {
    return c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
           (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
           c == 0xFEFF || c == 0xFFFD;
  }
};

using Steps = std::vector<std::unique_ptr<Normalizer>>;

std::optional<NormalForm> form_of(const std::string& type) {
  if (type == "NFC") return NormalForm::Nfc;
  if (type == "NFD") return NormalForm::Nfd;
  if (type == "NFKC") return NormalForm::Nfkc;
  if (type == "NFKD") return NormalForm::Nfkd;
  return std::nullopt;
}

void add(const Fields& fields, Steps& steps) {
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    for (const Fields& inner : fields.objects("normalizers")) add(inner, steps);
  } else if (const auto form = form_of(type)) {
    steps.push_back(std::make_unique<UnicodeForm>(*form));
  } else if (type == "Prepend") {
    steps.push_back(std::make_unique<Prepend>(fields.text("prepend")));
  } else if (type == "Replace") {
    steps.push_back(std::make_unique<Replace>(Pattern(fields), fields.text("content")));
  } else if (type == "Lowercase") {
    steps.push_back(std::make_unique<Lowercase>());
  } else if (type == "Strip") {
    steps.push_back(
        std::make_unique<Strip>(fields.flag("strip_left", true), fields.flag("strip_right", true)));
  } else if (type == "StripAccents") {
    steps.push_back(std::make_unique<StripAccents>());
  } else if (type == "Nmt") {
    steps.push_back(std::make_unique<Nmt>());
  } else if (type == "ByteLevel") {
    steps.push_back(std::make_unique<ByteLevelForm>());
  } else if (type == "Precompiled" && fields.text("precompiled_charsmap", "").empty()) {
    // An empty map changes nothing.
  } else {
    throw_user("{}: type '{}' is not supported", fields.where(), type);
  }
}

}  // namespace

std::vector<std::unique_ptr<Normalizer>> make_normalizers(const Fields& file) {
  Steps steps;
  if (file.has("normalizer")) add(file.object("normalizer"), steps);
  return steps;
}

}  // namespace pivot::hf
