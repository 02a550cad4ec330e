#pragma once
/// Versions of the libraries in this process.

#include <string>

namespace pivot {

std::string openblas_description();  // version and options of the build
std::string openblas_core();         // the CPU family its kernels were chosen for
std::string hdf5_version();
std::string zstd_version();
std::string sentencepiece_version();  // of the headers: the library does not tell

}  // namespace pivot
