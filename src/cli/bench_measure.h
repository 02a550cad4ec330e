#pragma once
/// How `pivot bench` measures: peaks of this machine and timings in the same process, one table,
/// one JSON file.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attention/attention.h"
#include "src/core/context.h"

namespace pivot {

/// Options that all benchmarks share.
struct BenchOptions {
  std::string device = "auto";
  std::string dtype = "auto";
  bool deterministic = true;
  std::string json;
  double seconds = 1;
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("device", device, "cpu, cuda, cuda:N or auto");
    v("dtype", dtype, "auto (bf16 on a GPU, f32 on the CPU), f32 or bf16");
    v("deterministic", deterministic,
      "gradients of dense attention in a fixed order; false: as blocks of the GPU finish");
    v("json", json, "also write the results to this file");
    v("seconds", seconds, "time for the repeats of one row (at least 3 repeats)");
    v("threads", threads, "CPU threads; 0 takes all processors");
  }
};

/// One line of the result.
struct BenchRow {
  std::string name;
  double seconds = 0;  // median of the repeats
  double best = 0;     // fastest repeat
  int repeats = 0;
  Cost cost;                                         // of one call
  size_t scratch = 0;                                // peak of the arena, bytes
  std::vector<std::pair<std::string, double>> more;  // further columns

  double gflops() const { return cost.flops / seconds * 1e-9; }
  double gigabytes() const { return cost.bytes / seconds * 1e-9; }
};

class Bench {
 public:
  /// Measures the peaks: of matrix products in the dtype, and of reading (CPU) or copying (GPU)
  /// memory. Throws UserError on impossible options.
  Bench(std::string command, const BenchOptions& options);

  ThreadPool& pool() { return pool_; }
  Device device() const { return device_; }
  DType dtype() const { return dtype_; }
  GradientOrder gradient_order() const { return order_; }
  double peak_flops() const { return peak_flops_; }
  double peak_bytes() const { return peak_bytes_; }

  /// Memory on the device for the life of the Bench, zero.
  Tensor tensor(DType dtype, Shape shape);
  /// Normal random values of the bench's dtype, the same on every run.
  Tensor random(Shape shape, uint32_t substream);
  /// `values` on the device.
  template <class T>
  Tensor upload(const std::vector<T>& values, Shape shape) {
    return upload(values.data(), DTypeOf<T>::kValue, shape);
  }

  /// Times `call`: once on the plan device for cost and scratch memory, once to warm up, then the
  /// repeats; on a GPU between events of its stream. The row stays valid until the next call.
  BenchRow& time(const std::string& name, const std::function<void(Context&)>& call);
  /// Adds a row measured elsewhere (a library's own kernel): the yardstick of the row before it.
  BenchRow& add(BenchRow row) { return rows_.emplace_back(std::move(row)); }

  /// Time at the machine's measured peaks over the time taken, at most about 1.
  double roofline_share(const BenchRow& row) const;

  /// Prints the table and writes the JSON file, if one was asked for.
  void finish() const;

 private:
  Tensor upload(const void* values, DType dtype, Shape shape);
  void print() const;
  void write_json() const;
  /// Name of the GPU or the processor.
  std::string machine() const;

  std::string command_;
  BenchOptions options_;
  ThreadPool pool_;
  Device device_;
  DType dtype_;
  GradientOrder order_;
  std::vector<DeviceBuffer> memory_;
  double peak_flops_;
  double peak_bytes_;
  std::vector<BenchRow> rows_;
};

/// Normal random floats, the same on every run.
std::vector<float> random_floats(int64_t count, uint32_t substream, ThreadPool& pool);

// The benchmarks, one file each; `args` follow the benchmark's name.
int run_bench_gemm(const std::vector<std::string>& args);
int run_bench_op(const std::vector<std::string>& args);
int run_bench_attention(const std::vector<std::string>& args);
int run_bench_decode(const std::vector<std::string>& args);
int run_bench_train(const std::vector<std::string>& args);
int run_bench_tokenizer(const std::vector<std::string>& args);

}  // namespace pivot
