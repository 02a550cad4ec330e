#pragma once
/// The one place that knows which compiler reads a header (see docs/style.md, rule 9).

#if defined(__CUDACC__)
#define PIVOT_HD __host__ __device__
#else
#define PIVOT_HD
#endif
