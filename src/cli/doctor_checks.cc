#include "src/cli/doctor_checks.h"

#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>

#include <langinfo.h>
#include <locale.h>
#include <unistd.h>

#include "build_info.h"
#include "kernels/attention/cuda/paths.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/units.h"
#include "src/cli/doctor_libraries.h"
#include "src/cli/doctor_measure.h"
#include "src/core/cuda.h"
#include "train/machine.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
constexpr double kLittleMemory = 2 * kGib;  // the small configurations need about one
constexpr double kLittleDisk = 2 * kGib;

CheckLine line(const std::string& name, const std::string& value, bool ok = true,
               const std::string& hint = "") {
  return {name, ok ? Verdict::Ok : Verdict::Warn, value, ok ? "" : hint};
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  std::string text;
  while (std::getline(info, text)) {
    if (text.rfind("model name", 0) != 0) continue;
    const size_t colon = text.find(": ");
    if (colon != std::string::npos) return text.substr(colon + 2);
  }
  return "unknown";
}

// The flags of /proc/cpuinfo that matter to the kernels, on any architecture.
std::string simd() {
  std::ifstream info("/proc/cpuinfo");
  std::string text;
  while (std::getline(info, text)) {
    if (text.rfind("flags", 0) != 0 && text.rfind("Features", 0) != 0) continue;
    text += ' ';
    std::string found;
    for (const std::string_view flag :
         {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve"}) {
      if (text.find(fmt::format(" {} ", flag)) == std::string::npos) continue;
      if (!found.empty()) found += ' ';
      found += flag;
    }
    return found.empty() ? "none" : found;
  }
  return "unknown";
}

bool is_writable(const std::string& dir) {
  std::string name = dir + "/pivot-doctor-XXXXXX";
  const int fd = ::mkstemp(name.data());
  if (fd < 0) return false;
  const bool written = ::write(fd, "x", 1) == 1;
  ::close(fd);
  ::unlink(name.c_str());
  return written;
}

CheckLine writable_line(const std::string& name, const std::string& dir, Verdict otherwise,
                        const std::string& hint) {
  const bool ok = is_writable(dir);
  const double free = ok ? static_cast<double>(free_disk_bytes(dir)) : 0;
  CheckLine out = line(name, fmt::format("{}, {} free", dir, format_bytes(free)),
                       free >= kLittleDisk, "little space: checkpoints take 12 bytes a parameter");
  if (!ok) out = {name, otherwise, dir + " cannot be written", hint};
  return out;
}

}  // namespace

std::vector<CheckLine> check_build() {
  const std::string type = kBuildType;
  return {line("pivot", fmt::format("{} ({})", kVersion, kGitHash)), line("compiler", kCompiler),
          line("build type", type, type == "Release" || type == "RelWithDebInfo",
               "slow; configure with -DCMAKE_BUILD_TYPE=Release")};
}

std::vector<CheckLine> check_gpus() {
  const int count = cuda::device_count();
  if (count == 0) {
    const bool looks_like_gpu = fs::exists("/dev/nvidia0") || fs::exists("/proc/driver/nvidia");
    return {line("CUDA", cuda::why_unavailable(), !looks_like_gpu,
                 "there is an NVIDIA GPU here: build with -DPIVOT_CUDA=ON, or repair the driver")};
  }
  std::vector<CheckLine> lines;
  for (int i = 0; i < count; ++i) {
    const cuda::DeviceInfo gpu = cuda::device_info(i);
    const auto gib = [](size_t bytes) { return format_bytes(static_cast<double>(bytes)); };
    if (i == 0) {
      lines.push_back(
          line("CUDA",
               fmt::format("driver {}, runtime {}, cuBLASLt {}, {}", gpu.driver, gpu.runtime,
                           gpu.cublas, attention::with_cudnn() ? "cuDNN" : "no cuDNN"),
               attention::with_cudnn(),
               "dense attention runs in our own slower kernels; "
               "scripts/cuda_headers.sh fetches what the build needs"));
    }
    lines.push_back(line(fmt::format("cuda:{}", i),
                         fmt::format("{}, compute capability {}.{}, {} free of {}", gpu.name,
                                     gpu.major, gpu.minor, gib(gpu.memory_free), gib(gpu.memory)),
                         gpu.memory_free > gpu.memory / 2,
                         "another process holds much of its memory (nvidia-smi)"));
    if (gpu.major < 8) {
      lines.back() = {lines.back().name, Verdict::Warn, lines.back().value,
                      "too old for the kernels (8.0 or later); --device cpu"};
    }
  }
  return lines;
}

std::vector<CheckLine> check_machine(const ThreadPool& pool) {
  const int online = static_cast<int>(std::thread::hardware_concurrency());
  const MachineMemory memory = machine_memory();
  const auto available = static_cast<double>(memory.available);
  return {line("CPU", cpu_model()),
          line("SIMD", simd(), simd() != "none", "attention will be slow"),
          line("cores", fmt::format("{} usable of {}", pool.size(), online), pool.size() >= online,
               "this process is bound to some of them (taskset, cgroup)"),
          line("memory",
               fmt::format("{} available of {}", format_bytes(available),
                           format_bytes(static_cast<double>(memory.total))),
               available >= kLittleMemory, "`pivot plan` tells what fits")};
}

std::vector<CheckLine> check_libraries() {
  const std::string core = openblas_core();
  // OpenBLAS calls its fallback for x86 without AVX "Prescott"; on a CPU with AVX2 it lost its way.
  const bool lost = core == "Prescott" && simd().find("avx2") != std::string::npos;
  return {line("OpenBLAS", openblas_description()),
          line("OpenBLAS core", core, !lost, "kernels for an old CPU: install a newer libopenblas"),
          line("HDF5", hdf5_version()), line("SentencePiece", sentencepiece_version()),
          line("zstd", zstd_version())};
}

std::vector<CheckLine> check_surroundings() {
  std::error_code error;
  const fs::path temporary = fs::temp_directory_path(error);
  std::vector<CheckLine> lines = {
      error ? CheckLine{"temporary files", Verdict::Fail, error.message(), "set TMPDIR"}
            : writable_line("temporary files", temporary.string(), Verdict::Fail,
                            "set TMPDIR to a directory that can be written"),
      writable_line("current directory", fs::current_path().string(), Verdict::Warn,
                    "give --output a directory that can be written")};
  // Asked of the environment without changing this process.
  const locale_t locale = ::newlocale(LC_CTYPE_MASK, "", static_cast<locale_t>(nullptr));
  const std::string codeset = locale == nullptr ? "unknown" : ::nl_langinfo_l(CODESET, locale);
  if (locale != nullptr) ::freelocale(locale);
  lines.push_back(line("character set", codeset, codeset == "UTF-8",
                       "tokens are shown in UTF-8; set LANG=C.UTF-8"));
  return lines;
}

std::vector<CheckLine> check_speed(ThreadPool& pool) {
  constexpr double kRounding =
      1e-5;  // 1024 fp32 terms err by at most 1024 * 2^-24 = 6e-5 in theory
  const SgemmResult sgemm = measure_sgemm(pool);
  const double per_core = sgemm.gflops / pool.size();
  constexpr double kSlowCore =
      8;  // GFLOP/s: below what SSE2 gives on any x86-64 of the last decade
  CheckLine speed = line("sgemm", fmt::format("{:.0f} GFLOP/s", sgemm.gflops),
                         per_core >= kSlowCore, "slow: is the machine busy, or OpenBLAS generic?");
  if (!(sgemm.worst_error < kRounding)) {
    speed = {"sgemm", Verdict::Fail, fmt::format("wrong by {:.1e}", sgemm.worst_error),
             "OpenBLAS gives wrong results on this CPU: install another version"};
  }
  return {speed,
          line("memory read", fmt::format("{:.1f} GB/s", measure_read_bandwidth(pool) * 1e-9))};
}

}  // namespace pivot
