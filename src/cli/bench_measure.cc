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

namespace pivot {
namespace {

constexpr Device kCpu{Device::Kind::Cpu, 0};
constexpr Device kPlan{Device::Kind::Plan, 0};
constexpr size_t kMinRepeats = 3;
constexpr size_t kMaxRepeats = 1000;

double seconds_of(const std::function<void(Context&)>& call, Context& ctx) {
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

}  // namespace

Bench::Bench(std::string command, const BenchOptions& options)
    : command_(std::move(command)), options_(options), pool_(std::max(0, options.threads)) {
  if (options.threads < 0) throw_user("--threads {}: must be 0 (all) or more", options.threads);
  if (!(options.seconds >= 0)) throw_user("--seconds {}: must be 0 or more", options.seconds);
  peak_flops_ = measure_sgemm(pool_).gflops * 1e9;
  peak_bytes_ = measure_read_bandwidth(pool_);
}

BenchRow& Bench::time(const std::string& name, const std::function<void(Context&)>& call) {
  log::status_line(fmt::format("{}: {}", command_, name));
  Arena counting(kPlan, 0);
  CostLedger ledger;
  Context plan{kPlan, pool_, counting, &ledger};
  call(plan);

  Arena arena(kCpu, counting.peak());
  Context ctx{kCpu, pool_, arena, nullptr};
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
                                     .more = {}});
}

double Bench::roofline_share(const BenchRow& row) const {
  return std::max(row.cost.flops / peak_flops_, row.cost.bytes / peak_bytes_) / row.seconds;
}

void Bench::finish() const {
  print();
  if (!options_.json.empty()) write_json();
}

void Bench::print() const {
  fmt::print("{}, {} threads: peak {:.0f} GFLOP/s sgemm, {:.1f} GB/s read\n\n", processor_name(),
             pool_.size(), peak_flops_ * 1e-9, peak_bytes_ * 1e-9);
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
                                           {"processor", processor_name()},
                                           {"threads", pool_.size()},
                                           {"peak_sgemm_gflop_per_s", peak_flops_ * 1e-9},
                                           {"peak_read_gb_per_s", peak_bytes_ * 1e-9},
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
