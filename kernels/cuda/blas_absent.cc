// Builds without CUDA: no Blas is ever made.
#include "kernels/cuda/blas.h"
#include "src/base/check.h"

namespace pivot::cuda {

struct Blas::State {};

Blas::Blas(int) {
  throw_error("{}", why_unavailable());
}
Blas::~Blas() = default;
void Blas::run(const BlasGemm&) {}
void Blas::set_measuring(bool) {}
int Blas::load_choices(const std::string&) {
  return 0;
}
void Blas::save_choices(const std::string&) const {}
int Blas::candidates(const BlasGemm&) {
  return 0;
}
void Blas::run_candidate(const BlasGemm&, int) {}
void Blas::run_reference(const BlasGemm&) {}

}  // namespace pivot::cuda
