#pragma once
/// The file of Blas::save_choices: JSON, one entry per card, version of cuBLAS and problem.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <cublasLt.h>

namespace pivot::cuda {

class BlasChoices {
 public:
  /// Choices of one card and one version of the library; entries of others are only kept.
  BlasChoices(std::string card, size_t version);

  std::optional<cublasLtMatmulAlgo_t> find(const std::string& problem) const;
  void set(const std::string& problem, const cublasLtMatmulAlgo_t& code);

  /// Adds the file's entries; returns how many are of this card and version. Throws UserError if
  /// the file is missing or not such a file.
  int load(const std::string& path);
  void save(const std::string& path) const;

 private:
  struct Entry {
    std::string card;
    size_t version;
    std::string problem, code;
  };

  std::string card_;
  size_t version_;
  std::map<std::string, cublasLtMatmulAlgo_t> own_;
  std::vector<Entry> foreign_;
};

}  // namespace pivot::cuda
