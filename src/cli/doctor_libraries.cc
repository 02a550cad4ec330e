#include "src/cli/doctor_libraries.h"

#include <cblas.h>
#include <fmt/core.h>
#include <hdf5.h>
#include <zstd.h>

namespace pivot {

std::string openblas_description() {
  return openblas_get_config();
}

std::string openblas_core() {
  return openblas_get_corename();
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::string zstd_version() {
  return ZSTD_versionString();
}

std::string sentencepiece_version() {
  return PIVOT_SENTENCEPIECE_VERSION;
}

}  // namespace pivot
