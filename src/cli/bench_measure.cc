#include "src/cli/bench_measure.h"

#include <algorithm>
#include <chrono>
#include <fstream>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "build_info.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/philox.h"
#include "src/cli/doctor_measure.h"
#include "src/core/cuda.h"
#include "train/calibrate.h"

namespace pivot {
namespace {

constexpr size_t kMinRepeats = 3;
constexpr size_t kMaxRepeats = 1000;

double seconds_of(const std::function<void(Context&)>& call, Context& ctx) {
  if (ctx.device.is_cuda()) {
    cuda::Stopwatch watch(ctx.device.index);
    watch.start();
    call(ctx);
    return watch.stop();
  }
  const auto start = std::chrono::steady_clock::now();
  call(ctx);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

// Bytes read and written per second by a copy of 2 GiB within the GPU's memory.
double measure_copy_bandwidth(Device device) {
  constexpr size_t kBytes = size_t{2} << 30;
  constexpr int kRepeats = 10;
  const DeviceBuffer from(device, kBytes), to(device, kBytes);
  double best = 1e9;
  for (int i = 0; i < kRepeats; ++i) {
    cuda::Stopwatch watch(device.index);
    watch.start();
    cuda::copy_on_device(device.index, to.data(), from.data(), kBytes);
    best = std::min(best, watch.stop());
  }
  return 2.0 * static_cast<double>(kBytes) / best;
}

// Device and dtype by the same rules as a training run's.
Compute compute_of(const BenchOptions& options) {
  TrainOptions train;
  train.device = options.device;
  train.dtype = options.dtype;
  train.deterministic = options.deterministic;
  return compute_of(train);
}

}  // namespace

Bench::Bench(std::string command, const BenchOptions& options)
    : command_(std::move(command)), options_(options), pool_(std::max(0, options.threads)) {
  if (options.threads < 0) throw_user("--threads {}: must be 0 (all) or more", options.threads);
  if (!(options.seconds >= 0)) throw_user("--seconds {}: must be 0 or more", options.seconds);
  const Compute compute = compute_of(options);
  device_ = compute.device;
  dtype_ = compute.dtype;
  order_ = compute.order;
  if (device_.is_cuda()) {
    peak_flops_ = measure_matmul_flops(compute, pool_);
    peak_bytes_ = measure_copy_bandwidth(device_);
  } else {
    peak_flops_ = measure_sgemm(pool_).gflops * 1e9;
    peak_bytes_ = measure_read_bandwidth(pool_);
  }
}

Tensor Bench::tensor(DType dtype, Shape shape) {
  Tensor t{nullptr, dtype, shape};
  t.data = memory_.emplace_back(device_, std::max<size_t>(t.bytes(), 1)).data();
  return t;
}

Tensor Bench::upload(const void* values, DType dtype, Shape shape) {
  const Tensor t = tensor(dtype, shape);
  Arena none(device_, 0);
  Context ctx{device_, pool_, none, nullptr};
  copy_from_host(t, values, ctx);
  return t;
}

Tensor Bench::random(Shape shape, uint32_t substream) {
  const std::vector<float> values = random_floats(shape.count(), substream, pool_);
  if (dtype_ == DType::F32) return upload(values, shape);
  std::vector<BFloat16> rounded(values.size());
  std::transform(values.begin(), values.end(), rounded.begin(), to_bfloat16);
  return upload(rounded, shape);
}

BenchRow& Bench::time(const std::string& name, const std::function<void(Context&)>& call) {
  log::status_line(fmt::format("{}: {}", command_, name));
  const Device planned = plan_device(device_);
  Arena counting(planned, 0);
  CostLedger ledger;
  Context plan{planned, pool_, counting, &ledger};
  call(plan);

  Arena arena(device_, counting.peak());
  Context ctx{device_, pool_, arena, nullptr};
  call(ctx);
  std::vector<double> times;
  double total = 0;
  while (times.size() < kMinRepeats || (total < options_.seconds && times.size() < kMaxRepeats)) {
    times.push_back(seconds_of(call, ctx));
    total += times.back();
  }
  std::sort(times.begin(), times.end());
  log::status_line("");
  return rows_.emplace_back(BenchRow{.name = name,
                                     .seconds = times[times.size() / 2],
                                     .best = times.front(),
                                     .repeats = static_cast<int>(times.size()),
                                     .cost = ledger.total,
                                     .scratch = counting.peak(),
                                     .more = {}});
}

double Bench::roofline_share(const BenchRow& row) const {
  return std::max(row.cost.flops / peak_flops_, row.cost.bytes / peak_bytes_) / row.seconds;
}

void Bench::finish() const {
  print();
  if (!options_.json.empty()) write_json();
}

std::string Bench::machine() const {
  if (device_.is_cuda()) return cuda::device_info(device_.index).name;
  return fmt::format("{}, {} threads", processor_name(), pool_.size());
}

void Bench::print() const {
  fmt::print("{}, {}: peak {:.0f} GFLOP/s matrix product, {:.1f} GB/s {}\n\n", machine(),
             dtype_name(dtype_), peak_flops_ * 1e-9, peak_bytes_ * 1e-9,
             device_.is_cuda() ? "copy" : "read");
  size_t width = 4;
  for (const BenchRow& row : rows_) width = std::max(width, row.name.size());
  fmt::print("{:<{}}  {:>10}  {:>9}  {:>8}  {:>6}\n", "", width, "ms", "GFLOP/s", "GB/s", "% peak");
  for (const BenchRow& row : rows_) {
    fmt::print("{:<{}}  {:>10.4g}  {:>9.1f}  {:>8.2f}  {:>6.1f}", row.name, width,
               row.seconds * 1e3, row.gflops(), row.gigabytes(), 100 * roofline_share(row));
    for (const auto& [column, value] : row.more) fmt::print("  {} {:.4g}", column, value);
    fmt::print("\n");
  }
}

void Bench::write_json() const {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const BenchRow& row : rows_) {
    nlohmann::ordered_json entry = {{"name", row.name},
                                    {"ms", row.seconds * 1e3},
                                    {"best_ms", row.best * 1e3},
                                    {"repeats", row.repeats},
                                    {"flops", row.cost.flops},
                                    {"bytes", row.cost.bytes},
                                    {"scratch", row.scratch},
                                    {"gflop_per_s", row.gflops()},
                                    {"gb_per_s", row.gigabytes()},
                                    {"peak_share", roofline_share(row)}};
    for (const auto& [column, value] : row.more) entry[column] = value;
    rows.push_back(entry);
  }
  const nlohmann::ordered_json document = {{"command", command_},
                                           {"version", kVersion},
                                           {"commit", kGitHash},
                                           {"compiler", kCompiler},
                                           {"device", to_string(device_)},
                                           {"machine", machine()},
                                           {"dtype", dtype_name(dtype_)},
                                           {"deterministic", order_ == GradientOrder::Fixed},
                                           {"processor", processor_name()},
                                           {"threads", pool_.size()},
                                           {"peak_gflop_per_s", peak_flops_ * 1e-9},
                                           {"peak_gb_per_s", peak_bytes_ * 1e-9},
                                           {"rows", rows}};
  write_file_atomically(options_.json, document.dump(2) + "\n");
}

std::vector<float> random_floats(int64_t count, uint32_t substream, ThreadPool& pool) {
  constexpr int64_t kGrain = 16384;
  std::vector<float> values(static_cast<size_t>(count));
  const Philox random(1, Stream::Test, substream);
  pool.for_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      values[static_cast<size_t>(i)] = static_cast<float>(random.normal(static_cast<uint64_t>(i)));
    }
  });
  return values;
}

}  // namespace pivot
