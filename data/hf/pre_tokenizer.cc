#include "data/hf/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "data/hf/characters.h"
#include "data/hf/pattern.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

Behavior behavior_of(const Fields& fields, const std::string& name) {
  const std::pair<const char*, Behavior> all[] = {
      {"Removed", Behavior::Removed},
      {"Isolated", Behavior::Isolated},
      {"MergedWithPrevious", Behavior::MergedWithPrevious},
      {"MergedWithNext", Behavior::MergedWithNext},
      {"Contiguous", Behavior::Contiguous}};
  for (const auto& [text, behavior] : all) {
    if (name == text) return behavior;
  }
  throw_user("{}: behavior '{}' is not known", fields.where(), name);
}

/// Whether a part is joined to the piece before it (after it, when they come in reverse).
bool joins(Behavior behavior, bool match, bool previous_match) {
  if (behavior == Behavior::Contiguous) return match == previous_match;
  const bool merged =
      behavior == Behavior::MergedWithPrevious || behavior == Behavior::MergedWithNext;
  return merged && match && !previous_match;
}

/// Appends the pieces that `parts` of one piece make.
void join(const std::vector<Part>& parts, Behavior behavior, std::vector<Range>& out) {
  const auto first = static_cast<int64_t>(out.size());
  const bool reverse = behavior == Behavior::MergedWithNext;
  bool previous = false;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& p = reverse ? parts[parts.size() - 1 - i] : parts[i];
    if (behavior == Behavior::Removed) {
      if (!p.match) out.push_back(p.range);
    } else if (static_cast<int64_t>(out.size()) > first && joins(behavior, p.match, previous)) {
      (reverse ? out.back().begin : out.back().end) = reverse ? p.range.begin : p.range.end;
    } else {
      out.push_back(p.range);
    }
    previous = p.match;
  }
  if (reverse) std::reverse(out.begin() + first, out.end());
  // Matches of nothing have played their part.
  out.erase(
      std::remove_if(out.begin() + first, out.end(), [](const Range& r) { return r.size() == 0; }),
      out.end());
}

/// Cuts every piece by a pattern.
class Split : public PreTokenizer {
 public:
  Split(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(Pieces& pieces) const override {
    std::vector<Range> out;
    const std::string_view bytes = pieces.text.bytes();
    out.reserve(bytes.size() / 4);
    // Matches that cover everything make no difference between most behaviours.
    const bool covering = pattern_.known() && !invert_ && behavior_ == Behavior::Isolated;
    std::vector<Part> parts;
    for (const Range& piece : pieces.ranges) {
      const std::string_view text = bytes.substr(piece.begin, piece.size());
      if (covering) {
        split_known(*pattern_.known(), text, piece.begin, out);
        continue;
      }
      parts.clear();
      pattern_.split(text, piece.begin, parts);
      if (invert_) {
        for (Part& p : parts) p.match = !p.match;
      }
      join(parts, behavior_, out);
    }
    pieces.ranges = std::move(out);
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

/// Cuts every piece at characters of a class: one part for each of them.
class SplitChars : public PreTokenizer {
 public:
  using Class = bool (*)(uint32_t);
  SplitChars(Class in_class, Behavior behavior) : in_class_(in_class), behavior_(behavior) {}
  void apply(Pieces& pieces) const override {
    std::vector<Range> out;
    std::vector<Part> parts;
    const char* data = pieces.text.bytes().data();
    for (const Range& piece : pieces.ranges) {
      parts.clear();
      uint32_t begin = piece.begin;
      for (uint32_t at = piece.begin; at < piece.end;) {
        const Char c = char_at(data + at);
        if (in_class_(c.code)) {
          if (begin < at) parts.push_back({{begin, at}, false});
          begin = at + c.bytes;
          parts.push_back({{at, begin}, true});
        }
        at += c.bytes;
      }
      if (begin < piece.end) parts.push_back({{begin, piece.end}, false});
      join(parts, behavior_, out);
    }
    pieces.ranges = std::move(out);
  }

 private:
  Class in_class_;
  Behavior behavior_;
};

/// `\w+|[^\w\s]+`, the rest dropped.
class Whitespace : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    std::vector<Range> out;
    const char* data = pieces.text.bytes().data();
    for (const Range& piece : pieces.ranges) {
      int run = 0;  // kind of the piece that the last character belongs to
      for (uint32_t at = piece.begin; at < piece.end;) {
        const Char c = char_at(data + at);
        const int kind = is_word(c.code) ? 1 : is_space(c.code) ? 0 : 2;
        if (kind != 0 && kind == run) {
          out.back().end = at + c.bytes;
        } else if (kind != 0) {
          out.push_back({at, at + c.bytes});
        }
        run = kind;
        at += c.bytes;
      }
    }
    pieces.ranges = std::move(out);
  }
};

/// Rewrites every piece: rewrite(edit, range) writes what it becomes.
template <class Rewrite>
void rewrite_pieces(Pieces& pieces, const Rewrite& rewrite) {
  TextEdit edit(pieces.text);
  std::vector<Range> out;
  for (const Range& piece : pieces.ranges) {
    const uint32_t begin = edit.size();
    rewrite(edit, piece);
    out.push_back({begin, edit.size()});
  }
  edit.finish();
  pieces.ranges = std::move(out);
}

class PrefixSpace : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    const std::string_view bytes = pieces.text.bytes();
    const bool all = std::all_of(pieces.ranges.begin(), pieces.ranges.end(),
                                 [&](const Range& r) { return bytes[r.begin] == ' '; });
    if (all) return;
    rewrite_pieces(pieces, [&](TextEdit& edit, const Range& r) {
      if (bytes[r.begin] != ' ') edit.insert(r.begin, " ");
      edit.keep(r.begin, r.end);
    });
  }
};

/// Spells bytes in GPT-2's alphabet, for models that cannot do it themselves.
class ByteAlphabet : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    const std::string_view bytes = pieces.text.bytes();
    rewrite_pieces(pieces, [&](TextEdit& edit, const Range& r) {
      for (uint32_t i = r.begin; i < r.end; ++i) {
        edit.replace(i, i + 1, to_byte_level(bytes.substr(i, 1)));
      }
    });
  }
};

enum class Scheme { First, Never, Always };

/// Writes spaces as `sign` and puts one in front.
class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string sign, Scheme scheme) : sign_(std::move(sign)), scheme_(scheme) {}
  void apply(Pieces& pieces) const override {
    const std::string_view bytes = pieces.text.bytes();
    rewrite_pieces(pieces, [&](TextEdit& edit, const Range& r) {
      const std::string_view piece = bytes.substr(r.begin, r.size());
      const bool wanted =
          scheme_ == Scheme::Always ||
          (scheme_ == Scheme::First && pieces.text.origin(r.begin, r.begin + 1).begin == 0);
      if (wanted && piece[0] != ' ' && !piece.starts_with(sign_)) {
        edit.insert(r.begin, sign_);
      }
      uint32_t at = r.begin;
      while (at < r.end) {
        const auto space = static_cast<uint32_t>(std::min<size_t>(bytes.find(' ', at), r.end));
        edit.keep(at, space);
        if (space < r.end) edit.replace(space, space + 1, sign_);
        at = space + 1;
      }
    });
  }

 private:
  std::string sign_;
  Scheme scheme_;
};

/// Cuts in front of every `sign`.
class SplitAtSign : public PreTokenizer {
 public:
  explicit SplitAtSign(std::string sign) : sign_(std::move(sign)) {}
  void apply(Pieces& pieces) const override {
    std::vector<Range> out;
    std::vector<Part> parts;
    for (const Range& piece : pieces.ranges) {
      parts.clear();
      split_literal(sign_, pieces.text.bytes().substr(piece.begin, piece.size()), piece.begin,
                    parts);
      join(parts, Behavior::MergedWithNext, out);
    }
    pieces.ranges = std::move(out);
  }

 private:
  std::string sign_;
};

Scheme scheme_of(const Fields& fields) {
  const std::string name = fields.text("prepend_scheme", "always");
  // Files of 2023 say it with a flag.
  const bool prefix = fields.flag("add_prefix_space", true);
  if (!prefix) {
    if (fields.has("prepend_scheme") && name != "never") {
      throw_user("{}: 'add_prefix_space' contradicts 'prepend_scheme'", fields.where());
    }
    return Scheme::Never;
  }
  if (name == "first") return Scheme::First;
  if (name == "never") return Scheme::Never;
  if (name == "always") return Scheme::Always;
  throw_user("{}: prepend_scheme '{}' is not known", fields.where(), name);
}

void add_metaspace(const Fields& fields, PreTokenizers& all) {
  const std::string sign = fields.text("replacement", "\xE2\x96\x81");
  if (sign.empty() || char_at(sign.data()).bytes != sign.size()) {
    throw_user("{}: 'replacement' must be one character", fields.where());
  }
  const Scheme scheme = scheme_of(fields);
  all.needs_origins = all.needs_origins || scheme == Scheme::First;
  all.steps.push_back(std::make_unique<Metaspace>(sign, scheme));
  if (fields.flag("split", true)) all.steps.push_back(std::make_unique<SplitAtSign>(sign));
}

void add_byte_level(const Fields& fields, PreTokenizers& all) {
  if (fields.flag("add_prefix_space", true)) all.steps.push_back(std::make_unique<PrefixSpace>());
  if (fields.flag("use_regex", true)) {
    all.steps.push_back(
        std::make_unique<Split>(Pattern(KnownPattern::Gpt2), Behavior::Isolated, false));
  }
}

void add(const Fields& fields, bool last, bool raw_bytes, PreTokenizers& all) {
  const std::string type = fields.text("type");
  const auto split_chars = [&](SplitChars::Class in_class, Behavior behavior) {
    all.steps.push_back(std::make_unique<SplitChars>(in_class, behavior));
  };
  if (type == "Sequence") {
    const std::vector<Fields> steps = fields.objects("pretokenizers");
    for (size_t i = 0; i < steps.size(); ++i) {
      add(steps[i], last && i + 1 == steps.size(), raw_bytes, all);
    }
  } else if (type == "ByteLevel") {
    add_byte_level(fields, all);
    if (last && raw_bytes) {
      all.alphabet = Alphabet::Bytes;
    } else {
      all.steps.push_back(std::make_unique<ByteAlphabet>());
    }
  } else if (type == "Split") {
    all.steps.push_back(std::make_unique<Split>(Pattern(fields),
                                                behavior_of(fields, fields.text("behavior")),
                                                fields.flag("invert", false)));
  } else if (type == "Metaspace") {
    add_metaspace(fields, all);
  } else if (type == "Digits") {
    split_chars(&is_number, fields.flag("individual_digits", false) ? Behavior::Isolated
                                                                    : Behavior::Contiguous);
  } else if (type == "Whitespace") {
    all.steps.push_back(std::make_unique<Whitespace>());
  } else if (type == "WhitespaceSplit") {
    split_chars(&is_space, Behavior::Removed);
  } else if (type == "Punctuation") {
    split_chars(&is_punctuation, behavior_of(fields, fields.text("behavior", "Isolated")));
  } else {
    throw_user("{}: type '{}' is not supported", fields.where(), type);
  }
}

}  // namespace

PreTokenizers make_pre_tokenizers(const Fields& file, bool raw_bytes) {
  PreTokenizers all;
  if (file.has("pre_tokenizer")) add(file.object("pre_tokenizer"), true, raw_bytes, all);
  return all;
}

}  // namespace pivot::hf
