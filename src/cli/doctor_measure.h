#pragma once
/// Two figures that tell whether this machine and its BLAS are set up well, in about a second.

#include "src/base/parallel.h"

namespace pivot {

struct SgemmResult {
  double gflops = 0;
  double worst_error = 0;  // relative, of a row against fp64 on the side
};
/// Best of repeated 1024 x 1024 x 1024 products on all workers of the pool.
SgemmResult measure_sgemm(ThreadPool& pool);

/// Best of repeated passes over 256 MiB by all workers, bytes per second.
double measure_read_bandwidth(ThreadPool& pool);

}  // namespace pivot
