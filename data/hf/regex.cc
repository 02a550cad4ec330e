#include "data/hf/regex.h"

#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "data/hf/characters.h"
#include "data/hf/pool.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

// One search of a sane expression takes a few steps a byte; catastrophic backtracking ends here
// within a second.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr size_t kJitStackStart = 32 << 10;
constexpr size_t kJitStackMost = 8 << 20;  // a run of a megabyte fits
constexpr size_t kLongestPattern = 64 << 10;

struct FreeCode {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct FreeContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
struct FreeCompile {
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};
struct FreeStack {
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};

std::string message_of(int error) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(error, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

/// What one search at a time needs.
struct Matcher {
  explicit Matcher(const pcre2_code* code)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr)) {
    if (!data || !context || !stack) throw_error("out of memory for a regular expression");
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
  std::unique_ptr<pcre2_match_data, FreeMatch> data;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
  std::unique_ptr<pcre2_jit_stack, FreeStack> stack;
};

}  // namespace

struct Regex::State {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::string where;
  Pool<Matcher> matchers;
};

Regex::Regex(const std::string& pattern, const std::string& where)
    : state_(std::make_unique<State>()) {
  state_->where = where;
  if (pattern.size() > kLongestPattern) {
    throw_user("{}: a regular expression of {} bytes, {} are the limit", where, pattern.size(),
               kLongestPattern);
  }
  const std::string translated = translate_regex(pattern, where);
  const std::unique_ptr<pcre2_compile_context, FreeCompile> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t at = 0;
  // Ruby's ^ and $ are those of lines.
  state_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                   translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                   &error, &at, context.get()));
  if (!state_->code) {
    throw_user("{}: bad regular expression '{}': {}", where, pattern, message_of(error));
  }
  pcre2_jit_compile(state_->code.get(), PCRE2_JIT_COMPLETE);  // without it, it is interpreted
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

void Regex::split(std::string_view text, uint32_t base, std::vector<Part>& parts) const {
  const auto matcher =
      state_->matchers.take([this] { return std::make_unique<Matcher>(state_->code.get()); });
  const auto put = [&](size_t begin, size_t end, bool match) {
    parts.push_back(
        {{base + static_cast<uint32_t>(begin), base + static_cast<uint32_t>(end)}, match});
  };
  size_t covered = 0;         // end of the last match
  size_t from = 0;            // where the search goes on
  bool matched_here = false;  // a match ended at `from`: an empty one there does not count
  while (from <= text.size()) {
    const int count =
        pcre2_match(state_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    from, PCRE2_NO_UTF_CHECK, matcher->data.get(), matcher->context.get());
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) {
      throw_user("{}: the regular expression is too costly on this text: {}", state_->where,
                 message_of(count));
    }
    const size_t* ends = pcre2_get_ovector_pointer(matcher->data.get());
    const size_t begin = ends[0], end = ends[1];
    if (begin > end)
      throw_user("{}: the regular expression sets its own start (\\K)", state_->where);
    if (begin == end && matched_here && end == covered) {
      if (from == text.size()) break;
      from += char_at(text.data() + from).bytes;
      matched_here = false;
      continue;
    }
    if (covered < begin) put(covered, begin, false);
    put(begin, end, true);
    covered = from = end;
    matched_here = true;
  }
  if (covered < text.size()) put(covered, text.size(), false);
}

void split_literal(std::string_view literal, std::string_view text, uint32_t base,
                   std::vector<Part>& parts) {
  const auto put = [&](size_t begin, size_t end, bool match) {
    parts.push_back(
        {{base + static_cast<uint32_t>(begin), base + static_cast<uint32_t>(end)}, match});
  };
  size_t covered = 0;
  while (!literal.empty()) {
    const size_t found = text.find(literal, covered);
    if (found == std::string_view::npos) break;
    if (covered < found) put(covered, found, false);
    covered = found + literal.size();
    put(found, covered, true);
  }
  if (covered < text.size()) put(covered, text.size(), false);
}

}  // namespace pivot::hf
