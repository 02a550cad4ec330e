#pragma once
/// The file of Blas::save_choices: JSON, one entry per card, version of cuBLAS and problem.

#include <compare>
#include <map>
#include <optional>
#include <string>

#include <cublasLt.h>

namespace pivot::cuda {

class BlasChoices {
 public:
  /// Choices of one card and one version of the library; entries of others are only kept.
  BlasChoices(std::string card, size_t version);

  std::optional<cublasLtMatmulAlgo_t> find(const std::string& problem) const;
  void set(const std::string& problem, const cublasLtMatmulAlgo_t& code);

  /// Adds the file's entries, in place of earlier ones of the same problem; returns how many are of
  /// this card and version. Throws UserError if the file is missing or not such a file.
  int load(const std::string& path);
  void save(const std::string& path) const;

 private:
  struct Foreign {
    std::string card;
    size_t version;
    std::string problem;
    auto operator<=>(const Foreign&) const = default;
  };

  std::string card_;
  size_t version_;
  std::map<std::string, cublasLtMatmulAlgo_t> own_;
  std::map<Foreign, std::string> foreign_;  // the algorithms' words
};

}  // namespace pivot::cuda
