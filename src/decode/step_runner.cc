#include "src/decode/step_runner.h"

#include <algorithm>
#include <cmath>

#include "src/base/check.h"

namespace pivot {
namespace {

struct Inputs {
  Tensor numbers, page_table;
};

Inputs take_inputs(int64_t capacity, const KvCache& cache, Arena& arena) {
  return {arena.tensor(DType::I32, {3, capacity}),
          arena.tensor(DType::I32, {capacity, cache.max_pages()})};
}

StepInput step_input(const Inputs& in, int64_t rows, int64_t max_length) {
  const auto number = [&](int64_t i) {
    return in.numbers.rows(i, i + 1).reshaped({in.numbers.dim(1)}).rows(0, rows);
  };
  return {.tokens = number(0),
          .positions = number(1),
          .lengths = number(2),
          .page_table = in.page_table.rows(0, rows),
          .max_length = max_length};
}

bool has_topk(const Model& model) {
  return std::any_of(model.attention.begin(), model.attention.end(),
                     [](const AttentionPolicy& policy) { return !policy.dense(); });
}

// Memory of a step of `rows` sequences of any length; smaller steps need no more.
size_t plan_step(const Model& model, const KvCache& cache, int64_t rows, int64_t max_length,
                 KeptMass mass, Device device, ThreadPool& pool) {
  const Device plan = plan_device(device);
  Arena counted(plan, 0);
  CostLedger ledger;
  Context ctx{plan, pool, counted, &ledger};
  const Inputs inputs = take_inputs(rows, cache, counted);
  decode_step(model, cache, step_input(inputs, rows, max_length), mass, ctx);
  return counted.peak();
}

}  // namespace

StepRunner::StepRunner(const Model& model, const KvCache& cache, int64_t most_rows,
                       int64_t max_length, KeptMass mass, Device device, ThreadPool& pool)
    : model_(model),
      cache_(cache),
      device_(device),
      pool_(pool),
      mass_(has_topk(model) ? mass : KeptMass::Ignore),
      capacity_(device.is_cuda() ? kStepRows : std::min(kStepRows, most_rows)),
      max_length_(max_length),
      table_(static_cast<size_t>(capacity_ * cache.max_pages()), 0),
      arena_(device, plan_step(model, cache, capacity_, max_length, mass_, device, pool)) {
  const Inputs inputs = take_inputs(capacity_, cache, arena_);
  numbers_ = inputs.numbers;
  page_table_ = inputs.page_table;
  Context ctx = context();
  copy_from_host(page_table_, table_.data(), ctx);
}

void StepRunner::run(std::span<const StepRow> rows) {
  rows_ = static_cast<int64_t>(rows.size());
  PIVOT_CHECK(rows_ > 0 && rows_ <= capacity_, "{} rows in a step of at most {}", rows_, capacity_);
  upload(rows);
  if (!device_.is_cuda()) {
    execute();
    return;
  }
  if (graph_.recorded()) {
    graph_.launch();
  } else if (eager_steps_ == 0) {
    execute();
    ++eager_steps_;
  } else {
    graph_.record(device_.index, [&] { execute(); });
    graph_.launch();
  }
}

void StepRunner::execute() {
  Context ctx = context();
  // Given back at once: the results stay where they are until the next step.
  const Arena::Scope scope = arena_.scope();
  const bool fixed = device_.is_cuda();
  StepInput input = step_input({numbers_, page_table_}, fixed ? capacity_ : rows_, max_length_);
  if (!fixed) {
    const int32_t* lengths = input.lengths.as<int32_t>();
    input.max_length = *std::max_element(lengths, lengths + rows_);
  }
  result_ = decode_step(model_, cache_, input, mass_, ctx);
}

void StepRunner::upload(std::span<const StepRow> rows) {
  Context ctx = context();
  std::vector<int32_t> numbers(static_cast<size_t>(3 * capacity_), 0);
  for (int64_t i = 0; i < rows_; ++i) {
    const StepRow& row = rows[static_cast<size_t>(i)];
    const auto length = static_cast<int32_t>(row.length);
    numbers[static_cast<size_t>(i)] = row.token;
    numbers[static_cast<size_t>(capacity_ + i)] = length - 1;
    numbers[static_cast<size_t>(2 * capacity_ + i)] = length;
    upload_pages(i, cache_.pages(row.id), ctx);
  }
  copy_from_host(numbers_, numbers.data(), ctx);
}

// A row of the table changes every kPageTokens steps or when another sequence takes it.
void StepRunner::upload_pages(int64_t row, const std::vector<int32_t>& pages, Context& ctx) {
  int32_t* known = table_.data() + row * cache_.max_pages();
  if (std::equal(pages.begin(), pages.end(), known)) return;
  std::copy(pages.begin(), pages.end(), known);
  copy_from_host(page_table_.rows(row, row + 1), known, ctx);
}

void StepRunner::copy_logits(int64_t row, float* out) {
  PIVOT_CHECK(row < rows_, "row {} of {}", row, rows_);
  Context ctx = context();
  copy_to_host(out, result_.logits.rows(row, row + 1), ctx);
}

void StepRunner::add_kept_mass(std::vector<double>& sums) {
  if (mass_ == KeptMass::Ignore) return;
  Context ctx = context();
  std::vector<float> kept(static_cast<size_t>(result_.lse.count()));
  std::vector<float> visible(kept.size());
  copy_to_host(kept.data(), result_.lse, ctx);
  copy_to_host(visible.data(), result_.lse_visible, ctx);
  const auto per_layer = static_cast<size_t>(result_.lse.dim(1) * result_.lse.dim(2));
  const auto used = static_cast<size_t>(rows_ * result_.lse.dim(2));
  for (size_t layer = 0; layer < sums.size(); ++layer) {
    if (model_.attention[layer].dense()) continue;
    double sum = 0;
    for (size_t i = layer * per_layer; i < layer * per_layer + used; ++i) {
      sum += std::exp(double{kept[i]} - double{visible[i]});
    }
    sums[layer] += sum / model_.config.heads;
  }
}

}  // namespace pivot
