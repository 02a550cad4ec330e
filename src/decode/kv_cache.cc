#include "src/decode/kv_cache.h"

#include <cstddef>

namespace pivot {

KvCache::KvCache(const KvShape& shape, Device device)
    : shape_(shape),
      pages_per_sequence_((shape.max_context + kPageTokens - 1) / kPageTokens),
      page_count_(pages_per_sequence_ * shape.max_sequences),
      sequences_(static_cast<size_t>(shape.max_sequences)),
      users_(static_cast<size_t>(page_count_), 0) {
  PIVOT_CHECK(shape.layers > 0 && shape.kv_heads > 0 && shape.head_dim > 0 &&
                  shape.max_context > 0 && shape.max_sequences > 0,
              "cache of {} layers, {} heads of {}, {} tokens, {} sequences", shape.layers,
              shape.kv_heads, shape.head_dim, shape.max_context, shape.max_sequences);
  const auto bytes =
      static_cast<size_t>(int64_t{shape.layers} * shape.kv_heads * page_count_ * page_elements()) *
      dtype_bytes(shape.dtype);
  keys_ = DeviceBuffer(device, bytes);
  values_ = DeviceBuffer(device, bytes);
  // Taken from the back: a first sequence gets pages 0, 1, 2, ... and streams through memory.
  for (int64_t page = page_count_ - 1; page >= 0; --page) {
    free_.push_back(static_cast<int32_t>(page));
  }
}

KvCache::Sequence& KvCache::at(int id) {
  PIVOT_CHECK(id >= 0 && static_cast<size_t>(id) < sequences_.size() &&
                  sequences_[static_cast<size_t>(id)].alive,
              "no sequence {}", id);
  return sequences_[static_cast<size_t>(id)];
}

const KvCache::Sequence& KvCache::at(int id) const {
  return const_cast<KvCache*>(this)->at(id);
}

int32_t KvCache::take_page() {
  PIVOT_CHECK(!free_.empty(), "all {} pages of the cache are in use", page_count_);
  const int32_t page = free_.back();
  free_.pop_back();
  users_[static_cast<size_t>(page)] = 1;
  return page;
}

void KvCache::drop_page(int32_t page) {
  if (--users_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

int KvCache::create() {
  for (size_t id = 0; id < sequences_.size(); ++id) {
    if (sequences_[id].alive) continue;
    sequences_[id] = {.alive = true, .length = 0, .pages = {}};
    return static_cast<int>(id);
  }
  throw_user("all {} sequences of the decoder are in use; release one or allow more",
             shape_.max_sequences);
}

int KvCache::fork(int id) {
  const Sequence& from = at(id);
  const int copy_id = create();
  Sequence& to = at(copy_id);
  to.length = from.length;
  to.pages = from.pages;
  for (const int32_t page : to.pages) ++users_[static_cast<size_t>(page)];
  return copy_id;
}

void KvCache::release(int id) {
  truncate(id, 0);
  at(id).alive = false;
}

void KvCache::truncate(int id, int64_t length) {
  Sequence& s = at(id);
  PIVOT_CHECK(length >= 0 && length <= s.length, "truncate {} tokens to {}", s.length, length);
  s.length = length;
  const auto keep = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
  while (s.pages.size() > keep) {
    drop_page(s.pages.back());
    s.pages.pop_back();
  }
}

void KvCache::extend(int id, int64_t count, Context& ctx) {
  Sequence& s = at(id);
  PIVOT_CHECK(count >= 0, "extend by {}", count);
  if (s.length + count > shape_.max_context) {
    throw_user("the context is full: {} tokens, the decoder holds {}", s.length + count,
               shape_.max_context);
  }
  if (count > 0 && s.length % kPageTokens != 0) own_last_page(s, ctx);
  s.length += count;
  while (static_cast<int64_t>(s.pages.size()) * kPageTokens < s.length) {
    s.pages.push_back(take_page());
  }
}

void KvCache::own_last_page(Sequence& sequence, Context& ctx) {
  const int32_t shared = sequence.pages.back();
  if (users_[static_cast<size_t>(shared)] == 1) return;
  const int32_t own = take_page();
  for (int layer = 0; layer < shape_.layers; ++layer) {
    for (int g = 0; g < shape_.kv_heads; ++g) {
      for (const DeviceBuffer* pool : {&keys_, &values_}) {
        copy(pages_of(*pool, layer, g, own, 1), pages_of(*pool, layer, g, shared, 1), ctx);
      }
    }
  }
  drop_page(shared);
  sequence.pages.back() = own;
}

int64_t KvCache::length(int id) const {
  return at(id).length;
}

const std::vector<int32_t>& KvCache::pages(int id) const {
  return at(id).pages;
}

Tensor KvCache::pages_of(const DeviceBuffer& pool, int layer, int kv_head, int64_t first,
                         int64_t count) const {
  const int64_t page = (int64_t{layer} * shape_.kv_heads + kv_head) * page_count_ + first;
  const auto offset = static_cast<size_t>(page * page_elements()) * dtype_bytes(shape_.dtype);
  return {static_cast<std::byte*>(pool.data()) + offset, shape_.dtype, {count * page_elements()}};
}

Tensor KvCache::k_pages(int layer) const {
  return pages_of(keys_, layer, 0, 0, shape_.kv_heads * page_count_)
      .reshaped({shape_.kv_heads, page_count_, page_elements()});
}

Tensor KvCache::v_pages(int layer) const {
  return pages_of(values_, layer, 0, 0, shape_.kv_heads * page_count_)
      .reshaped({shape_.kv_heads, page_count_, kPageTokens, shape_.head_dim});
}

size_t KvCache::bytes() const {
  const auto used = page_count_ - static_cast<int64_t>(free_.size());
  return static_cast<size_t>(used * page_elements() * shape_.kv_heads * shape_.layers * 2) *
         dtype_bytes(shape_.dtype);
}

}  // namespace pivot
