#include <cmath>
#include <limits>
#include <vector>

#include "kernels/decode_attention/row_job.h"

namespace pivot {
namespace {

using decode::Extent;
using decode::Row;
using decode::Workspace;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Entries of `lists` lists over `rows` rows of the longest sequence, whatever their parts.
int64_t list_bound(const Extent& e, int64_t rows, int64_t lists) {
  const int64_t by_k = decode::candidate_room(e.k_max, std::numeric_limits<int32_t>::max());
  const int64_t by_length = (rows * e.blocks + lists) * decode::kBlockTokens;
  return std::min(lists * by_k, by_length + lists * kPageTokens);
}

// Candidates and spare room of this or any smaller batch or length; see Extent.
size_t list_bytes(const Extent& e, int workers) {
  const int64_t most_parts = decode::divide_up(int64_t{2} * workers, e.kv_heads);
  const int64_t lists = std::min(e.sequences * e.blocks, most_parts + e.sequences);
  const int64_t spare = list_bound(e, 1, std::min(e.blocks, most_parts));
  return scratch_size(DType::I64, e.selections * list_bound(e, e.sequences, lists)) +
         scratch_size(DType::I64, workers * spare);
}

Workspace take_workspace(const DecodeAttention& a, const Extent& e, Context& ctx) {
  const auto floats = [&](int64_t count) {
    return ctx.scratch.tensor(DType::F32, {count}).as<float>();
  };
  const auto integers = [&](int64_t count) {
    return ctx.scratch.tensor(DType::I32, {count}).as<int32_t>();
  };
  const int64_t rows = e.sequences * e.heads;
  Workspace w{};
  w.max = floats(rows * e.slots);
  w.sum = floats(rows * e.slots);
  w.acc = floats(rows * e.slots * e.head_dim);
  w.nan = integers(rows * e.slots);
  if (a.policy.dense()) return w;
  if (a.lse_visible.present()) {
    w.mass_max = floats(rows * e.blocks);
    w.mass_sum = floats(rows * e.blocks);
  }
  const auto keys = [&](int64_t count) {
    return reinterpret_cast<uint64_t*>(ctx.scratch.tensor(DType::I64, {count}).as<int64_t>());
  };
  const int64_t lists = e.sequences * e.selections * e.parts;
  w.candidates = keys(lists * e.room);
  w.spare = keys(ctx.pool.size() * e.parts * e.room);
  w.counts = integers(lists);
  return w;
}

// A piece of work: which function of row_job.h, on what.
struct Job {
  const Row* row;
  int64_t first, second;
};

// max, sum and acc of `count` partials -> log-sum-exp and, where `out` is not null, the mean value.
float merge_partials(const float* max, const float* sum, const float* acc, int64_t count,
                     float scale, int64_t head_dim, float* out) {
  float top = -kInfinity;
  for (int64_t i = 0; i < count; ++i) top = std::max(top, max[i]);
  float total = 0;
  if (out != nullptr) std::fill(out, out + head_dim, 0.0F);
  for (int64_t i = 0; i < count; ++i) {
    if (max[i] == -kInfinity) continue;
    const float factor = std::exp(scale * (max[i] - top));
    total += factor * sum[i];
    if (out == nullptr) continue;
    for (int64_t d = 0; d < head_dim; ++d) out[d] += factor * acc[i * head_dim + d];
  }
  if (total == 0) return -kInfinity;
  if (out != nullptr) {
    for (int64_t d = 0; d < head_dim; ++d) out[d] /= total;
  }
  return scale * top + std::log(total);
}

bool row_has_nan(const Row& row, const Extent& e, const Workspace& w, int64_t head) {
  const int64_t count = row.dense() ? row.blocks() : e.parts;
  // In the group modes a NaN of one head is a NaN of the score that all of them are ranked by.
  const bool shared = row.a.policy.group != SelectionGroup::Head && !row.a.policy.dense();
  const int64_t first = shared ? head / e.group * e.group : head;
  const int64_t last = shared ? first + e.group : head + 1;
  for (int64_t h = first; h < last; ++h) {
    const int32_t* flags = w.nan + (row.b * e.heads + h) * e.slots;
    for (int64_t i = 0; i < count; ++i) {
      if (flags[i] != 0) return true;
    }
  }
  return false;
}

// Results of one head from its partials; returns 1 for a NaN row.
int32_t finish_head(const Row& row, const Extent& e, const Workspace& w, int64_t head) {
  const DecodeAttention& a = row.a;
  const int64_t at = row.b * e.heads + head;
  float* out = a.out.as<float>() + at * e.head_dim;
  const int64_t partials =
      row.dense() ? row.blocks() : decode::divide_up(row.k, decode::kChunkKeys);
  const int64_t slot = at * e.slots;
  float lse = merge_partials(w.max + slot, w.sum + slot, w.acc + slot * e.head_dim, partials,
                             a.scale, e.head_dim, out);
  float visible = lse;
  if (row.dense()) {
    a.tau.as<float>()[at] = -kInfinity;
    a.jcut.as<int32_t>()[at] = static_cast<int32_t>(row.length - 1);
  } else if (w.mass_max != nullptr) {
    visible = merge_partials(w.mass_max + at * e.blocks, w.mass_sum + at * e.blocks, nullptr,
                             row.blocks(), a.scale, 0, nullptr);
  }
  // Scores that are all -inf, or one that is +inf, have no softmax either.
  const bool nan = row_has_nan(row, e, w, head) || (row.length > 0 && !std::isfinite(lse));
  if (nan) {
    lse = visible = kNaN;
    a.tau.as<float>()[at] = -kInfinity;
    a.jcut.as<int32_t>()[at] = static_cast<int32_t>(row.length - 1);
    std::fill(out, out + e.head_dim, kNaN);
  }
  a.lse.as<float>()[at] = lse;
  if (a.lse_visible.present()) a.lse_visible.as<float>()[at] = visible;
  return nan ? 1 : 0;
}

}  // namespace

size_t scratch_bytes(const DecodeAttention& a, int workers) {
  const Extent e(a, workers);
  const int64_t rows = e.sequences * e.heads;
  size_t bytes = 3 * scratch_size(DType::F32, rows * e.slots) +
                 scratch_size(DType::F32, rows * e.slots * e.head_dim);
  if (a.policy.dense()) return bytes;
  bytes += 2 * scratch_size(DType::F32, rows * e.blocks);
  bytes += list_bytes(e, workers);
  return bytes + scratch_size(DType::I32, e.selections * (e.sequences * e.blocks + 1));
}

void decode_attention_cpu(const DecodeAttention& a, Context& ctx) {
  const Extent extent(a, ctx.pool.size());
  const Arena::Scope scope = ctx.scratch.scope();
  const Workspace work = take_workspace(a, extent, ctx);
  std::vector<Row> rows;
  for (int64_t b = 0; b < extent.sequences; ++b) {
    const Row& row = rows.emplace_back(a, b);
    PIVOT_CHECK(row.length >= 0 && row.length <= a.max_length, "length {} of at most {}",
                row.length, a.max_length);
  }

  std::vector<Job> scans, selections, chunks;
  for (const Row& row : rows) {
    const int64_t pieces = row.dense() ? row.blocks() : extent.parts;
    for (int64_t g = 0; g < extent.kv_heads; ++g) {
      for (int64_t piece = 0; piece < pieces; ++piece) scans.push_back({&row, g, piece});
    }
    if (row.dense()) continue;
    for (int64_t s = 0; s < extent.selections; ++s) selections.push_back({&row, s, 0});
    for (int64_t h = 0; h < extent.heads; ++h) {
      const int64_t count = decode::divide_up(row.k, decode::kChunkKeys);
      for (int64_t chunk = 0; chunk < count; ++chunk) chunks.push_back({&row, h, chunk});
    }
  }
  const auto run = [&](const std::vector<Job>& jobs, auto&& body) {
    ctx.pool.for_each(static_cast<int64_t>(jobs.size()),
                      [&](int64_t i, int worker) { body(jobs[static_cast<size_t>(i)], worker); });
  };
  run(scans, [&](const Job& job, int worker) {
    if (job.row->dense()) {
      decode::dense_block(*job.row, extent, work, job.first, job.second);
    } else {
      decode::scan_part(*job.row, extent, work, job.first, job.second, worker);
    }
  });
  run(selections, [&](const Job& job, int worker) {
    decode::select_row(*job.row, extent, work, job.first, worker);
  });
  run(chunks, [&](const Job& job, int) {
    decode::attend_chunk(*job.row, extent, work, job.first, job.second);
  });

  int32_t nan_rows = 0;
  for (const Row& row : rows) {
    for (int64_t h = 0; h < extent.heads; ++h) nan_rows += finish_head(row, extent, work, h);
  }
  if (a.nan_rows.present()) *a.nan_rows.as<int32_t>() += nan_rows;
}

}  // namespace pivot
