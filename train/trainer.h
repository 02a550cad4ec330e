#pragma once
/// A training run from its options to its end. One step is Trainer::step(); the arithmetic of it is
/// train_step() in train/step.h.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "checkpoints/checkpoint.h"
#include "data/loader.h"
#include "train/compute.h"
#include "train/guard.h"
#include "train/plan.h"
#include "train/run_dir.h"
#include "train/schedule.h"
#include "train/status_line.h"
#include "train/step.h"
#include "train/trainee.h"

namespace pivot {

struct TrainInputs {
  const Loader& train;
  const Loader* validation = nullptr;
  std::string tokenizer_kind;   // "bytes" | "sentencepiece"
  std::string tokenizer_bytes;  // copied into checkpoints
  std::string tokenizer_hash;
  /// Companions of checkpoints, over those of `init` or of the checkpoint that is resumed.
  std::map<std::string, std::string> companions = {};
  /// What options.init names: weights of step 0, companions; with adapters the base, in every
  /// session. Needed only while the trainer is made.
  const ModelSource* init = nullptr;
  double peak_flops = 0;  // what MFU is a share of; 0 measures matmul
};

struct TextSample {
  std::string prompt, text;
};

struct TrainCallbacks {
  /// Texts with the weights as they are. Empty: no samples.
  std::function<std::vector<TextSample>(const Model&, ThreadPool&)> sample;
  /// Asked after every step; true saves and stops. Empty: a signal (src/base/interrupt.h).
  std::function<bool()> stop;
};

struct TrainResult {
  enum class Reason { Finished, Time, Interrupted };
  Reason reason = Reason::Finished;
  int64_t step = 0;
  std::string checkpoint;  // the last one saved; "" if nothing was done
};

class Trainer {
 public:
  /// Checks and completes the options, rehearses the step on the plan device, takes all memory of
  /// the run and restores the checkpoint to go on from. Throws UserError naming what is wrong.
  Trainer(TrainOptions options, TrainInputs inputs, TrainCallbacks callbacks = {});

  /// Trains until the steps or the time are done, or a stop is asked for. Throws UserError after
  /// saving when the guard gives up (train/guard.h).
  TrainResult run();

  const TrainOptions& options() const { return options_; }
  const RunPlan& plan() const { return plan_; }
  /// What is trained, (P) F32: all weights, or the adapters.
  const Tensor& weights() const { return trainee_.optimizer().weights(); }
  int64_t steps_done() const { return state_.step; }
  /// Bytes of the arena that were in use at most.
  size_t arena_peak() const { return arena_.peak(); }

 private:
  /// Weights of step 0, or of the checkpoint to go on from.
  void load_weights();
  void restore(const std::string& checkpoint);
  void restore_adapters(const std::string& checkpoint);
  void begin();
  StepMetrics step();
  void after_step(const StepMetrics& m, bool stopping);
  /// True if the held-out loss is the lowest so far.
  bool validate_model();
  void write_sample();
  std::string save();
  /// The weights alone, for use: OUTPUT/best.
  void save_best();
  CheckpointInfo checkpoint_info() const;
  /// Where weights are written to: DIR/step_XXXXXXXX.
  enum class Moments { Save, Leave };
  std::string save_weights(const std::string& dir, Moments moments);
  /// The kernels of matrix products: the run's own earlier choices, else the shared file's.
  void load_gemm_choices();
  void save_gemm_choices() const;
  [[noreturn]] void give_up();
  TrainResult end(bool interrupted_now);

  std::vector<Batch> next_batches() const;
  /// True if it is another one than in the step before.
  bool use_attention(const Position& at);
  void count_rows_without_targets(const std::vector<Batch>& batches);
  /// Passes over the training data so far.
  double epoch() const;
  void record_skip(const StepOutput& out, const std::string& reason);
  StepMetrics measure(const StepOutput& out, const std::vector<Batch>& batches, double lr,
                      double seconds) const;
  /// Which kernels attend, in all stages; nothing runs that this does not name.
  std::string attention_kernels() const;
  RunMetrics facts() const;
  double elapsed() const;
  Position position() const;
  double seconds_left() const;

  TrainInputs inputs_;
  TrainCallbacks callbacks_;
  ThreadPool pool_;
  std::string resumed_;  // checkpoint this session began with, or ""
  TrainOptions options_;
  RunLimits limits_;
  Compute compute_;
  RunPlan plan_;
  Arena arena_;
  Context ctx_;
  Trainee trainee_;
  LearningRate rate_;
  AttentionSchedule schedule_;
  StepGuard guard_;
  StepGraphs graphs_;
  StatusLine status_;
  std::unique_ptr<RunDir> dir_;

  TrainState state_;     // values and elapsed_seconds are filled when it is saved
  int64_t updates_ = 0;  // steps that were applied
  size_t stage_ = 0;     // of the attention schedule, in the last step
  std::map<std::string, std::string> companions_;  // of checkpoints
  std::string base_fingerprint_;                   // with adapters
  std::optional<double> best_validation_;
  int64_t best_step_ = 0;
  int64_t rows_without_targets_ = 0;  // seen so far, over all sessions
  std::string last_save_;
  std::string last_skip_;
  Position begun_, checked_;  // at the session's begin; when cadences were last looked at
  std::optional<double> kept_mass_;
  double elapsed_before_ = 0;  // seconds of earlier sessions
  double started_ = 0;         // steady clock, seconds
};

}  // namespace pivot
