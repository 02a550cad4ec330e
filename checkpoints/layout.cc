#include "checkpoints/layout.h"

#include <charconv>

#include "src/base/check.h"

namespace pivot::layout {

std::string step_name(int64_t step) {
  return fmt::format("{}{:08}", kStepPrefix, step);
}

std::optional<int64_t> parse_step_name(const std::string& name) {
  constexpr size_t kPrefix = sizeof(kStepPrefix) - 1;
  constexpr size_t kDigits = 8;
  if (name.size() < kPrefix + kDigits || name.compare(0, kPrefix, kStepPrefix) != 0) return {};
  int64_t step = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix, end, step);
  if (error != std::errc{} || stop != end || step < 0) return {};
  return step;
}

bool is_temporary_name(const std::string& name) {
  constexpr size_t kSuffix = sizeof(kTemporarySuffix) - 1;
  if (name.size() <= kSuffix) return false;
  const size_t stem = name.size() - kSuffix;
  return name.compare(stem, kSuffix, kTemporarySuffix) == 0 &&
         parse_step_name(name.substr(0, stem)).has_value();
}

std::string tokenizer_file(const std::string& kind) {
  if (kind == "sentencepiece") return "tokenizer.model";
  if (kind == "huggingface") return "tokenizer.json";
  if (kind == "bytes") return "tokenizer.bytes";
  throw_user(
      "tokenizer kind '{}' is not known; this build knows bytes, sentencepiece and "
      "huggingface",
      kind);
}

}  // namespace pivot::layout
