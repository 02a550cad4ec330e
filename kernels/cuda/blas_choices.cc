#include "kernels/cuda/blas_choices.h"

#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot::cuda {
namespace {

using nlohmann::ordered_json;

constexpr const char* kFormat = "pivot gemm choices 1";
constexpr size_t kDigits = 16;  // of one word
constexpr size_t kWords = std::size(cublasLtMatmulAlgo_t{}.data);

/// cuBLASLt allows its algorithms to be stored as the words they are.
std::string to_hex(const cublasLtMatmulAlgo_t& code) {
  std::string text;
  for (const uint64_t word : code.data) text += fmt::format("{:016x}", word);
  return text;
}

std::optional<cublasLtMatmulAlgo_t> from_hex(const std::string& text) {
  if (text.size() != kWords * kDigits) return std::nullopt;
  cublasLtMatmulAlgo_t code{};
  for (size_t i = 0; i < kWords; ++i) {
    const char* begin = text.data() + i * kDigits;
    const auto [end, error] = std::from_chars(begin, begin + kDigits, code.data[i], 16);
    if (error != std::errc{} || end != begin + kDigits) return std::nullopt;
  }
  return code;
}

}  // namespace

BlasChoices::BlasChoices(std::string card, size_t version)
    : card_(std::move(card)), version_(version) {}

std::optional<cublasLtMatmulAlgo_t> BlasChoices::find(const std::string& problem) const {
  const auto at = own_.find(problem);
  if (at == own_.end()) return std::nullopt;
  return at->second;
}

void BlasChoices::set(const std::string& problem, const cublasLtMatmulAlgo_t& code) {
  own_[problem] = code;
}

int BlasChoices::load(const std::string& path) {
  int count = 0;
  try {
    const ordered_json file = ordered_json::parse(read_file(path));
    if (file.at("format") != kFormat) throw_user("{}: its format is not '{}'", path, kFormat);
    for (const ordered_json& e : file.at("choices")) {
      Foreign key{e.at("card"), e.at("cublas"), e.at("problem")};
      const std::string words = e.at("algorithm");
      const std::optional<cublasLtMatmulAlgo_t> code = from_hex(words);
      if (!code) throw_user("{}: '{}' is not an algorithm", path, words);
      if (key.card == card_ && key.version == version_) {
        set(key.problem, *code);
        ++count;
      } else {
        foreign_.insert_or_assign(std::move(key), words);
      }
    }
  } catch (const nlohmann::json::exception& e) {
    throw_user("{}: not a file of GEMM choices ({}); without it they are made anew", path,
               e.what());
  }
  return count;
}

void BlasChoices::save(const std::string& path) const {
  ordered_json choices = ordered_json::array();
  const auto add = [&](const Foreign& key, const std::string& words) {
    choices.push_back({{"card", key.card},
                       {"cublas", key.version},
                       {"problem", key.problem},
                       {"algorithm", words}});
  };
  for (const auto& [problem, code] : own_) add({card_, version_, problem}, to_hex(code));
  for (const auto& [key, words] : foreign_) add(key, words);
  const ordered_json file = {{"format", kFormat}, {"choices", choices}};
  write_file_atomically(path, file.dump(1) + "\n");
}

}  // namespace pivot::cuda
