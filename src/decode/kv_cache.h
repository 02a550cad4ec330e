#pragma once
/// Paged KV cache of many sequences: pages of kPageTokens tokens, shared between forks until one of
/// them writes.

#include <cstdint>
#include <vector>

#include "kernels/decode_attention/decode_attention.h"
#include "src/core/context.h"

namespace pivot {

struct KvShape {
  int layers;           // L
  int kv_heads;         // G
  int head_dim;         // D
  int64_t max_context;  // tokens of one sequence
  int max_sequences;    // alive at once
  DType dtype = DType::F32;
};

/// The pool holds max_sequences full sequences on the device: on the CPU its memory is only taken
/// as pages are first written, on CUDA at once. The list of pages is kept on the host; the op
/// kv_store writes them.
class KvCache {
 public:
  KvCache(const KvShape& shape, Device device);

  /// A new, empty sequence; ids of released ones are used again. Throws UserError when
  /// max_sequences are alive.
  int create();
  /// A sequence with the same tokens: shares the pages, copies the last one when either grows.
  int fork(int id);
  void release(int id);
  /// Forgets the tokens from `length` on.
  void truncate(int id, int64_t length);
  /// Makes room for `count` more tokens, to be written next. Throws UserError beyond max_context.
  void extend(int id, int64_t count, Context& ctx);
  /// Tokens of the sequence, including those extend() made room for.
  int64_t length(int id) const;

  Tensor k_pages(int layer) const;  // (G, P, D * kPageTokens)
  Tensor v_pages(int layer) const;  // (G, P, kPageTokens, D)
  /// Pages of one sequence in order.
  const std::vector<int32_t>& pages(int id) const;
  /// Columns of a page table that holds any sequence.
  int64_t max_pages() const { return pages_per_sequence_; }
  /// Bytes of the pages in use; a page shared by forks counts once.
  size_t bytes() const;

 private:
  struct Sequence {
    bool alive = false;
    int64_t length = 0;
    std::vector<int32_t> pages;
  };

  Sequence& at(int id);
  const Sequence& at(int id) const;
  int32_t take_page();
  void drop_page(int32_t page);
  void own_last_page(Sequence& sequence, Context& ctx);
  int64_t page_elements() const { return kPageTokens * shape_.head_dim; }
  /// Pages [first, first + count) of one layer and KV head as one row of elements.
  Tensor pages_of(const DeviceBuffer& pool, int layer, int kv_head, int64_t first,
                  int64_t count) const;

  KvShape shape_;
  int64_t pages_per_sequence_;
  int64_t page_count_;   // P
  DeviceBuffer keys_;    // (L, G, P, D * kPageTokens)
  DeviceBuffer values_;  // (L, G, P, kPageTokens, D)
  std::vector<Sequence> sequences_;
  std::vector<int32_t> users_;  // (P): sequences that hold each page
  std::vector<int32_t> free_;   // stack of free pages
};

}  // namespace pivot
