#include "src/decode/engine.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>

#include "kernels/kv_store/kv_store.h"
#include "kernels/matmul/matmul.h"
#include "src/base/check.h"
#include "src/decode/kv_cache.h"
#include "src/decode/step_runner.h"

namespace pivot {
namespace {

// Rows whose logits score() holds at once: 64 x 128K vocabulary x 4 B = 32 MiB.
constexpr int64_t kScoreRows = 64;

Model with_attention(const Model& model, std::vector<AttentionPolicy> policies) {
  PIVOT_CHECK(policies.size() == static_cast<size_t>(model.config.layers),
              "{} attention policies for {} layers", policies.size(), model.config.layers);
  Model copy = model;
  copy.attention = std::move(policies);
  return copy;
}

int64_t checked_context(const Model& model, const EngineOptions& options) {
  if (options.max_context < 0) throw_user("max_context {} is negative", options.max_context);
  if (options.max_sequences < 1) {
    throw_user("the decoder needs room for at least one sequence, not {}", options.max_sequences);
  }
  return options.max_context > 0 ? options.max_context : model.config.context;
}

Tensor upload(const std::vector<int32_t>& ids, Context& ctx) {
  const Tensor tensor = ctx.scratch.tensor(DType::I32, {static_cast<int64_t>(ids.size())});
  copy_from_host(tensor, ids.data(), ctx);
  return tensor;
}

// A packed row of one document on the context's device.
ModelInput one_document(const std::vector<int32_t>& tokens, Context& ctx) {
  const auto count = static_cast<int32_t>(tokens.size());
  std::vector<int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), 0);
  return {.tokens = upload(tokens, ctx),
          .positions = upload(positions, ctx),
          .doc_offsets = upload({0, count}, ctx),
          .max_document = count};
}

}  // namespace

struct Engine::State {
  Model prefill_model;
  Model step_model;
  Device device;
  ThreadPool& pool;
  int64_t max_context;
  KvCache cache;
  std::vector<std::vector<float>> logits;  // by sequence id
  StepRunner runner;
  std::optional<StepRunner> prompt_runner;  // of extend(), from its first call on
  std::optional<Arena> prompt_arena;        // as large as the longest prompt so far needed
  std::vector<double> mass_sum;             // per layer, over rows and heads of all steps
  int64_t mass_rows = 0;

  State(const Model& model, EngineOptions options, Device on, ThreadPool& threads)
      : prefill_model(with_attention(model, std::move(options.prefill))),
        step_model(with_attention(model, std::move(options.attention))),
        device(on),
        pool(threads),
        max_context(checked_context(model, options)),
        cache({.layers = model.config.layers,
               .kv_heads = model.config.kv_heads,
               .head_dim = model.config.head_dim,
               .max_context = max_context,
               .max_sequences = options.max_sequences,
               .dtype = model.compute_dtype()},
              on),
        logits(static_cast<size_t>(options.max_sequences)),
        runner(step_model, cache, options.max_sequences, max_context,
               options.measure_kept_mass ? KeptMass::Measure : KeptMass::Ignore, on, threads),
        mass_sum(static_cast<size_t>(model.config.layers), 0.0) {}

  const ModelConfig& config() const { return step_model.config; }

  void check_tokens(const std::vector<int32_t>& tokens) const {
    for (const int32_t token : tokens) {
      if (token >= 0 && token < config().vocab) continue;
      throw_user("token {} is not in the model's vocabulary of {}: is this its tokenizer?", token,
                 config().vocab);
    }
  }

  void check_prompt(const std::vector<int32_t>& prompt) const {
    if (prompt.empty()) throw_user("the prompt is empty: the model needs at least one token");
    if (static_cast<int64_t>(prompt.size()) > max_context) {
      throw_user("the prompt has {} tokens, the decoder holds {}: shorten it or raise the context",
                 prompt.size(), max_context);
    }
    check_tokens(prompt);
  }

  // Runs `body(ctx)` on the plan device for its memory, then on the real one.
  template <class Body>
  void with_prompt_arena(const Body& body) {
    Arena counted(plan_device(device), 0);
    CostLedger ledger;
    Context plan{counted.device(), pool, counted, &ledger};
    body(plan);
    if (!prompt_arena || prompt_arena->capacity() < counted.peak()) {
      prompt_arena.emplace(device, counted.peak());
    }
    const Arena::Scope scope = prompt_arena->scope();
    Context ctx{device, pool, *prompt_arena, nullptr};
    body(ctx);
  }

  Tensor head(const Tensor& hidden, Context& ctx) const {
    const Tensor out = ctx.scratch.tensor(DType::F32, {hidden.dim(0), config().vocab});
    matmul_forward({.y = out, .x = hidden, .w = step_model.params.head, .bias = {}, .residual = {}},
                   ctx);
    return out;
  }

  float* logits_row(int id) {
    std::vector<float>& row = logits[static_cast<size_t>(id)];
    row.resize(static_cast<size_t>(config().vocab));
    return row.data();
  }

  // The cache's bookkeeping, which may copy a shared page, outside of a step.
  void make_room(int id, int64_t count) {
    Arena none(device, 0);
    Context ctx{device, pool, none, nullptr};
    cache.extend(id, count, ctx);
  }

  void run_prompt(int id, const std::vector<int32_t>& prompt) {
    const auto count = static_cast<int32_t>(prompt.size());
    with_prompt_arena([&](Context& ctx) {
      const ModelInput input = one_document(prompt, ctx);
      const Tensor pages = upload(cache.pages(id), ctx);
      const Tensor length = upload({count}, ctx);
      const auto store = [&](int layer, const Tensor& qkv) {
        kv_store({.k_pages = cache.k_pages(layer),
                  .v_pages = cache.v_pages(layer),
                  .qkv = qkv,
                  .positions = input.positions,
                  .page_table = pages.reshaped({1, pages.count()}),
                  .lengths = length,
                  .heads = config().heads,
                  .kv_heads = config().kv_heads},
                 ctx);
      };
      const Tensor hidden = forward_hidden(prefill_model, input, ctx, store);
      const Tensor out = head(hidden.rows(count - 1, count), ctx);
      if (!ctx.device.is_plan()) copy_to_host(logits_row(id), out, ctx);
    });
  }

  // At most kStepRows sequences, extended by their new token already.
  void step_rows(std::span<const StepRow> rows) {
    runner.run(rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      runner.copy_logits(static_cast<int64_t>(i), logits_row(rows[i].id));
    }
    runner.add_kept_mass(mass_sum);
    mass_rows += static_cast<int64_t>(rows.size());
  }

  // The tokens of one sequence, room for which has been made.
  void extend_rows(int id, const std::vector<int32_t>& tokens) {
    if (!prompt_runner) {
      prompt_runner.emplace(prefill_model, cache, kStepRows, max_context, KeptMass::Ignore, device,
                            pool);
    }
    const auto count = static_cast<int64_t>(tokens.size());
    const int64_t before = cache.length(id) - count;
    std::vector<StepRow> rows;
    for (int64_t i = 0; i < count; ++i) {
      rows.push_back({id, tokens[static_cast<size_t>(i)], before + i + 1});
      if (i + 1 < count && rows.size() < static_cast<size_t>(kStepRows)) continue;
      prompt_runner->run(rows);
      if (i + 1 < count) rows.clear();
    }
    prompt_runner->copy_logits(static_cast<int64_t>(rows.size()) - 1, logits_row(id));
  }
};

Engine::Engine(const Model& model, EngineOptions options, Device device, ThreadPool& pool)
    : state_(std::make_unique<State>(model, std::move(options), device, pool)) {}

Engine::~Engine() = default;

int Engine::prefill(const std::vector<int32_t>& prompt) {
  state_->check_prompt(prompt);
  const int id = state_->cache.create();
  try {
    state_->make_room(id, static_cast<int64_t>(prompt.size()));
    state_->run_prompt(id, prompt);
  } catch (...) {
    state_->cache.release(id);
    throw;
  }
  return id;
}

void Engine::score(const std::vector<int32_t>& tokens,
                   const std::function<void(int64_t, const float*)>& sink) {
  State& s = *state_;
  s.check_prompt(tokens);
  s.with_prompt_arena([&](Context& ctx) {
    const Tensor hidden = forward_hidden(s.prefill_model, one_document(tokens, ctx), ctx);
    const int64_t rows = hidden.dim(0);
    for (int64_t begin = 0; begin < rows; begin += kScoreRows) {
      const Arena::Scope scope = ctx.scratch.scope();
      const int64_t end = std::min(rows, begin + kScoreRows);
      const Tensor out = s.head(hidden.rows(begin, end), ctx);
      if (ctx.device.is_plan()) continue;
      std::vector<float> host(static_cast<size_t>(out.count()));
      copy_to_host(host.data(), out, ctx);
      for (int64_t row = begin; row < end; ++row) {
        sink(row, host.data() + (row - begin) * s.config().vocab);
      }
    }
  });
}

void Engine::step(const std::vector<int>& ids, const std::vector<int32_t>& tokens) {
  State& s = *state_;
  PIVOT_CHECK(ids.size() == tokens.size(), "{} sequences, {} tokens", ids.size(), tokens.size());
  s.check_tokens(tokens);
  for (size_t i = 0; i < ids.size(); ++i) {
    PIVOT_CHECK(std::count(ids.begin(), ids.end(), ids[i]) == 1, "sequence {} twice", ids[i]);
    if (s.cache.length(ids[i]) >= s.max_context) {
      throw_user("sequence {} is full: the decoder holds {} tokens", ids[i], s.max_context);
    }
  }
  std::vector<StepRow> rows;
  for (size_t i = 0; i < ids.size(); ++i) {
    s.make_room(ids[i], 1);
    rows.push_back({ids[i], tokens[i], s.cache.length(ids[i])});
  }
  for (size_t begin = 0; begin < rows.size(); begin += kStepRows) {
    const size_t count = std::min(rows.size() - begin, static_cast<size_t>(kStepRows));
    s.step_rows(std::span(rows).subspan(begin, count));
  }
}

void Engine::extend(int id, const std::vector<int32_t>& tokens) {
  State& s = *state_;
  if (tokens.empty()) throw_user("nothing to extend the sequence by");
  s.check_tokens(tokens);
  const int64_t before = s.cache.length(id);
  const auto count = static_cast<int64_t>(tokens.size());
  if (before + count > s.max_context) {
    throw_user("the text has {} tokens, the decoder holds {}: shorten it or raise the context",
               before + count, s.max_context);
  }
  s.make_room(id, count);
  try {
    s.extend_rows(id, tokens);
  } catch (...) {
    truncate(id, before);
    throw;
  }
}

void Engine::truncate(int id, int64_t length) {
  if (length == state_->cache.length(id)) return;
  state_->cache.truncate(id, length);
  state_->logits[static_cast<size_t>(id)].clear();
}

int Engine::fork(int id) {
  const int copy = state_->cache.fork(id);
  state_->logits[static_cast<size_t>(copy)] = state_->logits[static_cast<size_t>(id)];
  return copy;
}

void Engine::release(int id) {
  state_->cache.release(id);
}

const float* Engine::logits(int id) const {
  state_->cache.length(id);  // throws unless the sequence is alive
  const std::vector<float>& row = state_->logits[static_cast<size_t>(id)];
  PIVOT_CHECK(!row.empty(), "sequence {} was truncated: it has no logits", id);
  return row.data();
}

int64_t Engine::length(int id) const {
  return state_->cache.length(id);
}

bool Engine::same_attention() const {
  return to_string(state_->prefill_model.attention) == to_string(state_->step_model.attention);
}

int64_t Engine::max_context() const {
  return state_->max_context;
}

int64_t Engine::vocab() const {
  return state_->config().vocab;
}

size_t Engine::cache_bytes() const {
  return state_->cache.bytes();
}

std::vector<double> Engine::kept_mass() const {
  std::vector<double> mass(state_->mass_sum.size(), 1.0);
  for (size_t layer = 0; layer < mass.size(); ++layer) {
    if (state_->step_model.attention[layer].dense() || state_->mass_rows == 0) continue;
    mass[layer] = state_->mass_sum[layer] / static_cast<double>(state_->mass_rows);
  }
  return mass;
}

void Engine::restart_kept_mass() {
  std::fill(state_->mass_sum.begin(), state_->mass_sum.end(), 0.0);
  state_->mass_rows = 0;
}

}  // namespace pivot
