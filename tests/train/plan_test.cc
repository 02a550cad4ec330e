#include "train/plan.h"

#include "src/base/log.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/train/tiny_run.h"
#include "train/calibrate.h"

namespace pivot::test {
namespace {

TEST_CASE("plan: memory by category, and the arena of the real run peaks exactly there") {
  log::set_level(log::Level::Error);
  const MemoryLoader loader, held_out;
  for (const char* recompute : {"none", "selective", "full"}) {
    for (const char* spec : {"dense", "topk:k=4", "*:topk:10%,min=2;0:dense"}) {
      CAPTURE(recompute, spec);
      const TempDir dir;
      TrainOptions o = tiny_options(dir / "run");
      o.recompute = recompute;
      o.attention.spec = spec;
      o.steps = 10;
      o.validation.tokens = 512;
      o.data.validation = {"memory"};
      Trainer trainer(o, tiny_inputs(loader, &held_out));
      trainer.run();
      const MemoryPlan& m = trainer.plan().memory;
      const auto count = static_cast<size_t>(parameter_count(o.model));
      CHECK(m.parameters == 4 * count);
      CHECK(m.gradients == 4 * count);
      CHECK(m.moments == 8 * count);
      CHECK(m.activations > 0);
      CHECK(trainer.arena_peak() == m.arena());
    }
  }
}

TEST_CASE("plan: recomputation and smaller micro-batches cost less memory, work grows") {
  ThreadPool pool(2);
  TrainOptions o = tiny_options("unused");
  const RunPlan none = plan_run(o, pool);
  o.recompute = "selective";
  const RunPlan selective = plan_run(o, pool);
  o.recompute = "full";
  const RunPlan full = plan_run(o, pool);
  CHECK(selective.memory.total() < none.memory.total());
  CHECK(full.memory.total() < selective.memory.total());
  CHECK(full.stages[0].work.total.flops > selective.stages[0].work.total.flops);
  CHECK(full.stages[0].model.total.flops == none.stages[0].model.total.flops);
  o.batch.micro = 1;
  const RunPlan single = plan_run(o, pool);
  CHECK(single.memory.total() < full.memory.total());
  // The same tokens are multiplied with the same weights.
  CHECK(single.dense.by_op.at("matmul_forward").flops ==
        Approx(none.dense.by_op.at("matmul_forward").flops));
}

TEST_CASE("plan: matmul FLOPs are 6 per parameter and token, attention's follow the square") {
  ThreadPool pool(1);
  TrainOptions o = tiny_options("unused");
  o.attention.spec = "dense";
  const RunPlan plan = plan_run(o, pool);
  const double tokens = static_cast<double>(plan.tokens_per_step());
  double weights = 0;  // elements that are multiplied: matrices, and the tied output projection
  for (const ParamInfo& p : list_params(o.model)) {
    if (p.shape.rank == 2) weights += static_cast<double>(p.shape.count());
  }
  const auto flops = [&](const char* op) { return plan.dense.by_op.at(op).flops; };
  const double products =
      flops("matmul_forward") + flops("matmul_backward") + flops("linear_cross_entropy");
  CHECK(products / tokens == Approx(6 * weights).epsilon(0.05));

  TrainOptions longer = o;
  longer.model.context = longer.data.seq_len = 64;
  longer.batch.micro = 2;
  const RunPlan twice = plan_run(longer, pool);
  CHECK(twice.dense.by_op.at("attention_forward").flops / flops("attention_forward") ==
        Approx(2).epsilon(0.1));
  CHECK(flops_of(plan.dense, 0.5) ==
        Approx(plan.dense.total.flops -
               0.5 * (flops("attention_forward") + flops("attention_backward"))));
}

TEST_CASE("plan: micro-batches are chosen to fit, and a remedy is found where there is one") {
  ThreadPool pool(2);
  TrainOptions o = tiny_options("unused");
  o.batch.micro = 0;
  const size_t plenty = size_t{1} << 40;
  CHECK(choose_micro_rows(o, plenty, pool) == 8);
  CHECK(choose_micro_rows(o, 1, pool) == 1);
  o.batch.micro = 8;
  const size_t all = plan_run(o, pool).memory.total();
  o.batch.micro = 1;
  const size_t least = plan_run(o, pool).memory.total();
  o.batch.micro = 8;
  CHECK(find_remedy(o, least, pool).change == "batch.micro=1");
  const Remedy mild = find_remedy(o, all - 1, pool);
  CHECK(mild.total < all);
  CHECK_FALSE(mild.change.empty());
  CHECK(find_remedy(o, 1000, pool).change.empty());
}

TEST_CASE("plan: a GPU is planned for where there is none: bf16, library memory, its own scratch") {
  ThreadPool pool(1);
  TrainOptions o = tiny_options("unused");
  const RunPlan cpu = plan_run(o, pool);
  o.device = "cuda";
  const RunPlan gpu = plan_run(o, pool);
  CHECK(gpu.memory.parameters * 4 == cpu.memory.parameters * 6);
  CHECK(gpu.memory.gradients == cpu.memory.gradients);
  CHECK(gpu.memory.activations < cpu.memory.activations);
  CHECK(gpu.memory.libraries > 0);
  CHECK(gpu.checkpoint_bytes == cpu.checkpoint_bytes);
  CHECK(gpu.stages.back().model.total.flops == cpu.stages.back().model.total.flops);
  o.dtype = "f32";
  CHECK(plan_run(o, pool).memory.parameters == cpu.memory.parameters);
  o.model.head_dim = 24;
  CHECK_NOTHROW(plan_run(o, pool));
  o.dtype = "auto";
  CHECK_THROWS_WITH(plan_run(o, pool), ContainsSubstring("model.head_dim 24"));
  o.model.head_dim = 16;
  o.device = "cpu";
  o.dtype = "bf16";
  CHECK_THROWS_WITH(plan_run(o, pool), ContainsSubstring("needs a GPU"));
  o.dtype = "fp16";
  CHECK_THROWS_WITH(plan_run(o, pool), ContainsSubstring("auto, f32 or bf16"));
}

TEST_CASE("plan: checkpoints on disk are counted, the one being written too") {
  ThreadPool pool(1);
  TrainOptions o = tiny_options("unused");
  o.checkpoint = {.every = "10%", .keep = 2};
  const RunPlan plan = plan_run(o, pool);
  CHECK(plan.checkpoint_bytes >= plan.memory.parameters + plan.memory.moments);
  CHECK(plan.disk_bytes == 3 * plan.checkpoint_bytes);
  o.checkpoint.keep = 0;
  CHECK(plan_run(o, pool).disk_bytes == 11 * plan.checkpoint_bytes);
}

TEST_CASE("calibration: rates are positive and the estimate is of the right order") {
  ThreadPool pool(2);
  const TrainOptions o = tiny_options("unused");
  const RunPlan plan = plan_run(o, pool);
  const Speed speed = measure_speed(o, compute_of(o), pool);
  CHECK(speed.matmul_flops > 1e8);
  CHECK(speed.bytes > 1e8);
  const auto layers = parse_layer_policies(o.attention.spec, o.model.layers);
  CHECK(speed.attention.count(to_string(layers[0])) == 1);
  const double estimate = estimate_seconds(plan.stages.back().work, layers, speed);
  const double measured = measure_step(o, compute_of(o), plan, layers, pool);
  CAPTURE(estimate, measured);
  CHECK(estimate > 0);
  CHECK(measured > 0);
  CHECK(estimate < 100 * measured);
  CHECK(measured < 100 * estimate);
}

}  // namespace
}  // namespace pivot::test
