#include "data/hf/decoder.h"

#include <utility>

#include "data/hf/characters.h"
#include "data/hf/pattern.h"
#include "data/hf/vocabulary.h"
#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

class ByteLevelDecoder : public Decoder {
 public:
  void apply(std::vector<std::string>& parts) const override {
    std::string all;
    for (const std::string& part : parts) {
      if (!append_from_byte_level(part, all)) all += part;
    }
    parts = {std::move(all)};
  }
};

class ByteFallback : public Decoder {
 public:
  void apply(std::vector<std::string>& parts) const override {
    std::vector<std::string> out;
    bool open = false;  // the last of `out` is made of byte tokens
    for (std::string& part : parts) {
      const int byte = byte_of_token(part);
      if (byte < 0) {
        out.push_back(std::move(part));
      } else if (open) {
        out.back().push_back(static_cast<char>(byte));
      } else {
        out.emplace_back(1, static_cast<char>(byte));
      }
      open = byte >= 0;
    }
    parts = std::move(out);
  }
};

class Fuse : public Decoder {
 public:
  void apply(std::vector<std::string>& parts) const override {
    std::string all;
    for (const std::string& part : parts) all += part;
    parts = {std::move(all)};
  }
};

/// Takes up to `start` times `content` off the front of each part, `stop` off its end.
class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& parts) const override {
    for (std::string& part : parts) {
      std::string_view left = part;
      for (int64_t i = 0; i < start_ && left.starts_with(content_); ++i) {
        left.remove_prefix(content_.size());
      }
      for (int64_t i = 0; i < stop_ && left.ends_with(content_); ++i) {
        left.remove_suffix(content_.size());
      }
      part = std::string(left);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& parts) const override {
    std::vector<Part> found;
    for (std::string& part : parts) {
      found.clear();
      // Byte decoders before this one may leave what is no character; patterns need characters.
      if (find_invalid_utf8(part) != std::string::npos) continue;
      pattern_.split(part, 0, found);
      std::string out;
      for (const Part& p : found) {
        if (p.match) {
          out += content_;
        } else {
          out.append(part, p.range.begin, p.range.size());
        }
      }
      part = std::move(out);
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

/// Signs to spaces; in the first part they go, because encoding has put them there.
class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string sign, bool drop_first)
      : sign_(std::move(sign)), drop_first_(drop_first) {}
  void apply(std::vector<std::string>& parts) const override {
    std::vector<Part> found;
    for (size_t i = 0; i < parts.size(); ++i) {
      found.clear();
      split_literal(sign_, parts[i], 0, found);
      std::string out;
      for (const Part& p : found) {
        if (!p.match) {
          out.append(parts[i], p.range.begin, p.range.size());
        } else if (i > 0 || !drop_first_) {
          out.push_back(' ');
        }
      }
      parts[i] = std::move(out);
    }
  }

 private:
  std::string sign_;
  bool drop_first_;
};

std::string one_char(const Fields& fields, const char* key) {
  const std::string text = fields.text(key);
  if (text.empty() || char_at(text.data()).bytes != text.size()) {
    throw_user("{}: '{}' must be one character", fields.where(), key);
  }
  return text;
}

void add(const Fields& fields, Decoders& all) {
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    for (const Fields& inner : fields.objects("decoders")) add(inner, all);
  } else if (type == "ByteLevel") {
    all.steps.push_back(std::make_unique<ByteLevelDecoder>());
    all.byte_level_only = all.steps.size() == 1;
    return;
  } else if (type == "ByteFallback") {
    all.steps.push_back(std::make_unique<ByteFallback>());
  } else if (type == "Fuse") {
    all.steps.push_back(std::make_unique<Fuse>());
  } else if (type == "Strip") {
    constexpr int64_t kMost = 1 << 20;
    all.steps.push_back(std::make_unique<StripDecoder>(one_char(fields, "content"),
                                                       fields.number("start", 0, kMost),
                                                       fields.number("stop", 0, kMost)));
  } else if (type == "Replace") {
    all.steps.push_back(std::make_unique<ReplaceDecoder>(Pattern(fields), fields.text("content")));
  } else if (type == "Metaspace") {
    const bool prefix =
        fields.flag("add_prefix_space", true) && fields.text("prepend_scheme", "always") != "never";
    all.steps.push_back(
        std::make_unique<MetaspaceDecoder>(one_char(fields, "replacement"), prefix));
  } else {
    throw_user("{}: type '{}' is not supported", fields.where(), type);
  }
  all.byte_level_only = false;
}

}  // namespace

Decoders make_decoders(const Fields& file) {
  Decoders all;
  all.absent = !file.has("decoder");
  if (!all.absent) add(file.object("decoder"), all);
  return all;
}

}  // namespace pivot::hf
