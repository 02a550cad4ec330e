#include "kernels/cuda/blas.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <map>
#include <optional>

#include "kernels/cuda/blas_choices.h"
#include "kernels/cuda/blas_problem.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "src/core/cuda_check.h"

namespace pivot::cuda {
namespace {

constexpr int kCandidates = 16;
// Measuring one problem: samples of at least kSampleSeconds (a launch is a few microseconds), the
// median of three. After kMeasureSeconds no further candidate is begun, but kAlwaysMeasured are.
constexpr double kSampleSeconds = 3e-4;
constexpr double kMeasureSeconds = 0.03;
constexpr size_t kAlwaysMeasured = 3;
constexpr int kMostRepeats = 20;
// The heuristic's first stays unless another is faster by more than repeats differ.
constexpr double kGain = 1.02;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

struct Blas::State {
  struct Entry {
    BlasProblem problem;
    BlasAlgorithm algorithm;
  };

  explicit State(int device_index)
      : device(device_index), choices(device_info(device).name, cublasLtGetVersion()) {
    PIVOT_CHECK(!recording(device), "cuBLASLt is first used while a graph is recorded");
    check_blas(cublasLtCreate(&handle), "start");
    workspace = allocate(device, kBlasWorkspace);
  }
  ~State() {
    release(device, workspace);
    static_cast<void>(cublasLtDestroy(handle));
  }

  /// Returns the status; launch errors of one candidate must not end the measuring of all.
  cublasStatus_t launch(BlasProblem& p, const BlasAlgorithm& algorithm, const BlasGemm& g) {
    if (g.bias != nullptr) {
      check_blas(cublasLtMatmulDescSetAttribute(&p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &g.bias, sizeof(g.bias)),
                 "take a bias");
    }
    const float beta = g.c == nullptr ? 0 : 1;
    const void* c = g.c == nullptr ? g.d : g.c;
    return cublasLtMatmul(handle, &p.operation, &g.alpha, g.b.data, &p.b, g.a.data, &p.a, &beta, c,
                          &p.d, g.d, &p.d, &algorithm.code, workspace, kBlasWorkspace,
                          static_cast<cudaStream_t>(stream(device)));
  }

  /// Seconds of one run, the mean of `repeats`; infinite if it does not run.
  double time(BlasProblem& p, const BlasAlgorithm& algorithm, const BlasGemm& g, int repeats) {
    Stopwatch watch(device);
    watch.start();
    for (int i = 0; i < repeats; ++i) {
      if (launch(p, algorithm, g) != CUBLAS_STATUS_SUCCESS) {
        return std::numeric_limits<double>::infinity();
      }
    }
    return watch.stop() / repeats;
  }

  double median_time(BlasProblem& p, const BlasAlgorithm& algorithm, const BlasGemm& g) {
    static_cast<void>(time(p, algorithm, g, 1));  // loads the kernel
    const double first = time(p, algorithm, g, 1);
    const int repeats =
        static_cast<int>(std::clamp(kSampleSeconds / first, 1.0, double{kMostRepeats}));
    std::array<double, 3> samples{};
    for (double& s : samples) s = time(p, algorithm, g, repeats);
    std::sort(samples.begin(), samples.end());
    return samples[1];
  }

  size_t fastest(BlasProblem& p, const std::vector<BlasAlgorithm>& list, const BlasGemm& g) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<double> seconds;
    for (const BlasAlgorithm& algorithm : list) {
      if (seconds.size() >= kAlwaysMeasured && seconds_since(start) > kMeasureSeconds) break;
      seconds.push_back(median_time(p, algorithm, g));
    }
    const auto best = std::min_element(seconds.begin(), seconds.end());
    return *best * kGain < seconds[0] ? static_cast<size_t>(best - seconds.begin()) : 0;
  }

  /// The fastest on the caller's operands; where d is read too, on memory of this function.
  size_t measure(BlasProblem& p, const BlasKey& key, const std::vector<BlasAlgorithm>& list,
                 const BlasGemm& g) {
    if (list.size() == 1) return 0;
    if (key.c != BlasKey::Added::Itself) return fastest(p, list, g);
    const size_t bytes = static_cast<size_t>(g.m * g.d_stride) * dtype_bytes(g.outputs);
    if (device_info(device).memory_free < bytes) {
      log::warning("no memory to measure {}: cuBLASLt's first choice is taken", to_string(key));
      return 0;
    }
    void* sums = allocate(device, bytes);
    BlasGemm copy = g;
    copy.d = sums;
    copy.c = sums;
    const size_t best = fastest(p, list, copy);
    synchronize(device);
    release(device, sums);
    return best;
  }

  BlasAlgorithm loaded(BlasProblem& p, const BlasKey& key, const cublasLtMatmulAlgo_t& code) {
    cublasLtMatmulHeuristicResult_t result{};
    const cublasStatus_t status =
        cublasLtMatmulAlgoCheck(handle, &p.operation, &p.b, &p.a, &p.d, &p.d, &code, &result);
    if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kBlasWorkspace) {
      throw_error("the loaded choice for {} does not run here ({}); delete the file of choices",
                  to_string(key), cublasLtGetStatusName(status));
    }
    return {code, result.workspaceSize};
  }

  Entry& entry(const BlasGemm& g) {
    const BlasKey key(g);
    if (const auto found = entries.find(key); found != entries.end()) return found->second;
    Entry made{BlasProblem(key), {}};
    const std::string name = to_string(key);
    if (const std::optional<cublasLtMatmulAlgo_t> code = choices.find(name)) {
      made.algorithm = loaded(made.problem, key, *code);
    } else {
      const std::vector<BlasAlgorithm> list =
          list_algorithms(handle, made.problem, key, kCandidates, BlasLimits::Reproducible);
      const bool measured = measuring && !recording(device);
      made.algorithm = list[measured ? measure(made.problem, key, list, g) : 0];
      choices.set(name, made.algorithm.code);
    }
    return entries.emplace(key, made).first->second;
  }

  Entry& reference(const BlasGemm& g) {
    const BlasKey key(g);
    if (const auto found = references.find(key); found != references.end()) return found->second;
    Entry made{BlasProblem(key), {}};
    made.algorithm = list_algorithms(handle, made.problem, key, 1, BlasLimits::None).front();
    return references.emplace(key, made).first->second;
  }

  int device;
  BlasChoices choices;
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  bool measuring = false;
  std::map<BlasKey, Entry> entries, references;
};

Blas::Blas(int device) : state_(std::make_unique<State>(device)) {}
Blas::~Blas() = default;

void Blas::run(const BlasGemm& g) {
  if (g.m == 0 || g.n == 0) return;
  PIVOT_CHECK(g.k > 0, "a product over no channels");
  State::Entry& entry = state_->entry(g);
  check_blas(state_->launch(entry.problem, entry.algorithm, g), "multiply");
}

void Blas::set_measuring(bool on) {
  state_->measuring = on;
}

int Blas::load_choices(const std::string& path) {
  return state_->choices.load(path);
}

void Blas::save_choices(const std::string& path) const {
  state_->choices.save(path);
}

int Blas::candidates(const BlasGemm& g) {
  const BlasKey key(g);
  BlasProblem problem(key);
  return static_cast<int>(
      list_algorithms(state_->handle, problem, key, kCandidates, BlasLimits::Reproducible).size());
}

void Blas::run_candidate(const BlasGemm& g, int index) {
  const BlasKey key(g);
  BlasProblem problem(key);
  const std::vector<BlasAlgorithm> list =
      list_algorithms(state_->handle, problem, key, kCandidates, BlasLimits::Reproducible);
  check_blas(state_->launch(problem, list.at(static_cast<size_t>(index)), g), "multiply");
}

void Blas::run_reference(const BlasGemm& g) {
  State::Entry& entry = state_->reference(g);
  check_blas(state_->launch(entry.problem, entry.algorithm, g), "multiply");
}

}  // namespace pivot::cuda
