#pragma once
/// How the work of one decode_attention call is cut up, and where its intermediate results lie.

#include <algorithm>
#include <cstdint>

#include "kernels/decode_attention/candidates.h"
#include "kernels/decode_attention/decode_attention.h"
#include "kernels/decode_attention/page.h"

namespace pivot::decode {

/// Partial softmaxes cover this many keys of the cache (dense, lse_visible): fixed, so that sums
/// have the same order whatever the batch and the pool. 2048 keys are 1 MiB of keys and values at D
/// = 64: tens of microseconds, enough to hide handing a task out.
inline constexpr int64_t kBlockTokens = 2048;
/// Kept keys of one partial softmax of a Top-k row.
inline constexpr int64_t kChunkKeys = 1024;

constexpr int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Sizes that follow from shapes alone.
struct Extent {
  int64_t sequences, heads, kv_heads, group, head_dim, selections;
  int64_t blocks;  // of the longest sequence
  int64_t parts;   // ranges of blocks whose candidates are listed separately
  int64_t k_max;   // of the longest sequence; 0 when dense
  int64_t room;    // candidates of one list
  int64_t slots;   // partial softmaxes of one row

  Extent(const DecodeAttention& a, int workers)
      : sequences(a.qkv.dim(0)),
        heads(a.heads),
        kv_heads(a.kv_heads),
        group(a.heads / a.kv_heads),
        head_dim(a.qkv.dim(2)),
        selections(a.policy.group == SelectionGroup::Head ? a.heads : a.kv_heads),
        blocks(std::max<int64_t>(1, divide_up(a.max_length, kBlockTokens))),
        k_max(a.policy.dense() ? 0 : budget_of(a.policy)(a.max_length)) {
    // Sets do not depend on how a row is cut, so it is cut only as far as the pool needs it: longer
    // ranges reach a sharp gate sooner.
    const int64_t rows = std::max<int64_t>(1, sequences * kv_heads);
    parts = std::clamp<int64_t>(divide_up(int64_t{2} * workers, rows), 1, blocks);
    room = candidate_room(k_max, divide_up(blocks, parts) * kBlockTokens);
    slots = std::max(blocks, divide_up(k_max, kChunkKeys));
  }
};

/// The scratch of one call, laid out for an Extent.
struct Workspace {
  float* max;            // (B, H, slots)
  float* sum;            // (B, H, slots)
  float* acc;            // (B, H, slots, D)
  int32_t* nan;          // (B, H, slots): a NaN score was seen
  float* mass_max;       // (B, H, blocks), where lse_visible is wanted
  float* mass_sum;       // (B, H, blocks)
  uint64_t* candidates;  // (B, selections, parts, room)
  uint64_t* spare;       // (workers, parts, room)
  int32_t* counts;       // (B, selections, parts)
};

/// One sequence of the batch.
struct Row {
  const DecodeAttention& a;
  int64_t b;
  int64_t length;
  int64_t k;

  Row(const DecodeAttention& args, int64_t sequence)
      : a(args),
        b(sequence),
        length(args.lengths.as<int32_t>()[sequence]),
        k(args.policy.dense() ? length : budget_of(args.policy)(length)) {}

  bool dense() const { return k >= length; }
  int64_t head_dim() const { return a.qkv.dim(2); }
  int64_t blocks() const { return divide_up(length, kBlockTokens); }
  const float* query(int64_t head) const {
    return a.qkv.as<float>() + (b * a.qkv.dim(1) + head) * head_dim();
  }
  int64_t page_of(int64_t token) const {
    return a.page_table.as<int32_t>()[b * a.page_table.dim(1) + token / kPageTokens];
  }
  const float* keys(int64_t kv_head, int64_t token) const {
    return a.k_pages.as<float>() +
           (kv_head * a.k_pages.dim(1) + page_of(token)) * kPageTokens * head_dim();
  }
  const float* values(int64_t kv_head, int64_t token) const {
    return a.v_pages.as<float>() +
           (kv_head * a.v_pages.dim(1) + page_of(token)) * kPageTokens * head_dim();
  }
};

/// Dense: partial softmax of one block for every head of KV head g.
void dense_block(const Row& row, const Extent& extent, const Workspace& work, int64_t g,
                 int64_t block);
/// Top-k: candidates of one part for every selection of KV head g (and the visible mass per block).
/// `worker` names the spare room that no other thread uses.
void scan_part(const Row& row, const Extent& extent, const Workspace& work, int64_t g, int64_t part,
               int worker);
/// Top-k: the kept set of one selection from its parts' candidates, by ascending key index, at the
/// front of the first part's list; writes tau and jcut of its heads.
void select_row(const Row& row, const Extent& extent, const Workspace& work, int64_t selection,
                int worker);
/// Top-k: partial softmax of one chunk of kept keys of one head.
void attend_chunk(const Row& row, const Extent& extent, const Workspace& work, int64_t head,
                  int64_t chunk);

}  // namespace pivot::decode
