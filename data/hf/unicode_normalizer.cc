// Unicode normal forms (UAX 15) by utf8proc, a stretch at a time so that origins are known.
#include <algorithm>
#include <array>
#include <bitset>
#include <cstdlib>
#include <memory>

#include <utf8proc.h>

#include "data/hf/characters.h"
#include "data/hf/normalizer.h"
#include "data/hf/unicode_tables.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

constexpr uint32_t kTableEnd = 0x30000;  // above are few characters and no common text

enum class Role : uint8_t {
  Plain,    // stays as it is, and nothing joins it to what comes before
  Changes,  // decomposes, but begins a stretch
  Joins,    // may be joined with, or ordered before, what comes before it
  Foreign,  // unknown to the package: a stretch of its own, left alone
};

bool in(std::span<const CharRange> ranges, uint32_t code) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const CharRange& r) { return r.first <= code && code <= r.last; });
}

utf8proc_option_t options_of(NormalForm form) {
  unsigned options = UTF8PROC_STABLE;
  const bool compatible = form == NormalForm::Nfkc || form == NormalForm::Nfkd;
  const bool composed = form == NormalForm::Nfc || form == NormalForm::Nfkc;
  options |= static_cast<unsigned>(composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (compatible) options |= static_cast<unsigned>(UTF8PROC_COMPAT);
  return static_cast<utf8proc_option_t>(options);
}

Role find_role(uint32_t code, bool compatible) {
  if (in(not_normalized_ranges(), code)) return Role::Foreign;
  const auto c = static_cast<utf8proc_int32_t>(code);
  if (utf8proc_get_property(c)->combining_class != 0) return Role::Joins;
  if (in(composes_backward_ranges(), code)) return Role::Joins;
  std::array<utf8proc_int32_t, 32> parts = {};
  int last_class = 0;
  const unsigned options = static_cast<unsigned>(UTF8PROC_DECOMPOSE) |
                           (compatible ? static_cast<unsigned>(UTF8PROC_COMPAT) : 0U);
  const auto count =
      utf8proc_decompose_char(c, parts.data(), static_cast<utf8proc_ssize_t>(parts.size()),
                              static_cast<utf8proc_option_t>(options), &last_class);
  if (count == 1 && parts[0] == c) return Role::Plain;
  if (count < 1) return Role::Plain;  // unassigned
  const auto first = static_cast<uint32_t>(parts[0]);
  const bool joins = utf8proc_get_property(parts[0])->combining_class != 0 ||
                     in(composes_backward_ranges(), first);
  return joins ? Role::Joins : Role::Changes;
}

/// Roles of the common characters; made once for each kind of decomposition, in a few ms.
class Roles {
 public:
  static const Roles& get(bool compatible) {
    static const Roles canonical(false);
    static const Roles compatibility(true);
    return compatible ? compatibility : canonical;
  }
  Role of(uint32_t code) const {
    if (code < kTableEnd) return static_cast<Role>(roles_[code]);
    return find_role(code, compatible_);
  }

 private:
  explicit Roles(bool compatible) : roles_(kTableEnd), compatible_(compatible) {
    for (uint32_t c = 0; c < kTableEnd; ++c) {
      const bool ideograph = c >= 0x4E00 && c <= 0x9FFF;  // all plain
      const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
      if (!ideograph && !surrogate) roles_[c] = static_cast<uint8_t>(find_role(c, compatible));
    }
  }
  std::vector<uint8_t> roles_;
  bool compatible_;
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};

/// Appends the normal form of a stretch.
void append_normal(std::string_view part, NormalForm form, std::string& out) {
  utf8proc_uint8_t* made = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(part.data()),
                   static_cast<utf8proc_ssize_t>(part.size()), &made, options_of(form));
  const std::unique_ptr<utf8proc_uint8_t, Free> owner(made);
  if (size < 0) throw_error("utf8proc: {}", utf8proc_errmsg(size));
  out.append(reinterpret_cast<const char*>(made), static_cast<size_t>(size));
}

}  // namespace

void normalize_unicode(Text& text, NormalForm form) {
  const bool compatible = form == NormalForm::Nfkc || form == NormalForm::Nfkd;
  const bool composed = form == NormalForm::Nfc || form == NormalForm::Nfkc;
  const Roles& roles = Roles::get(compatible);
  const std::string_view bytes = text.bytes();
  const auto size = static_cast<uint32_t>(bytes.size());
  const uint32_t plain_below = composed && !compatible ? 0x300 : 0x80;
  std::unique_ptr<TextEdit> edit;  // from the first change on
  uint32_t kept = 0;               // before are in the edit
  uint32_t at = 0;
  uint32_t start = 0;  // of the stretch that the next character may belong to
  std::string normal;
  while (at < size) {
    const Char c = char_at(bytes.data() + at);
    const Role role = c.code < plain_below ? Role::Plain : roles.of(c.code);
    if (role == Role::Plain || role == Role::Foreign) {
      // What joins a foreign character does not combine with it.
      start = role == Role::Foreign ? at + c.bytes : at;
      at += c.bytes;
      continue;
    }
    if (role == Role::Changes) start = at;
    uint32_t end = at + c.bytes;
    while (end < size) {
      const Char next = char_at(bytes.data() + end);
      if (next.code < plain_below || roles.of(next.code) != Role::Joins) break;
      end += next.bytes;
    }
    normal.clear();
    append_normal(bytes.substr(start, end - start), form, normal);
    if (normal != bytes.substr(start, end - start)) {
      if (!edit) edit = std::make_unique<TextEdit>(text);
      edit->keep(kept, start);
      edit->replace(start, end, normal);
      kept = end;
    }
    at = start = end;
  }
  if (!edit) return;
  edit->keep(kept, size);
  edit->finish();
}

}  // namespace pivot::hf
