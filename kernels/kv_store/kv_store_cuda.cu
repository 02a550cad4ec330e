#include "kernels/cuda/launch.cuh"
#include "kernels/kv_store/kv_store.h"

namespace pivot {
namespace {

constexpr int kThreads = 256;

// Keys and values are only moved: rows of D elements are rows of `bytes` bytes.
struct Args {
  uint8_t* k_pages;
  uint8_t* v_pages;
  const uint8_t* qkv;
  const int32_t* positions;
  const int32_t* page_table;
  const int32_t* lengths;
  int64_t rows, pages, table_width, bytes;
  int heads, kv_heads;
  bool one_each;
};

template <class Word>
__global__ void __launch_bounds__(kThreads) kv_store_kernel(Args a) {
  const int64_t words = a.bytes / static_cast<int64_t>(sizeof(Word));
  const int64_t per_row = 2 * a.kv_heads * words;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x; at < a.rows * per_row;
       at += step) {
    const int64_t row = at / per_row;
    const auto head = static_cast<int>(at % per_row / words);  // keys, then values
    const int64_t word = at % words;
    const int64_t b = a.one_each ? row : 0;
    const int32_t token = a.positions[row];
    if (token >= a.lengths[b]) continue;
    const int64_t page = a.page_table[b * a.table_width + token / kPageTokens];
    const int g = head % a.kv_heads;
    const int64_t to = ((g * a.pages + page) * kPageTokens + token % kPageTokens) * a.bytes;
    const int64_t from = (row * (a.heads + 2 * a.kv_heads) + a.heads + head) * a.bytes;
    uint8_t* pool = head < a.kv_heads ? a.k_pages : a.v_pages;
    reinterpret_cast<Word*>(pool + to)[word] = reinterpret_cast<const Word*>(a.qkv + from)[word];
  }
}

template <class Word>
void store(const Args& args, Context& ctx) {
  const int64_t words = args.rows * 2 * args.kv_heads * args.bytes / int64_t{sizeof(Word)};
  cuda::launch(&kv_store_kernel<Word>, cuda::grid_for(ctx, words, kThreads), kThreads, 0,
               cuda::stream(ctx), args);
}

}  // namespace

void kv_store_cuda(const KvStore& a, Context& ctx) {
  if (a.qkv.count() == 0) return;
  const Args args{.k_pages = static_cast<uint8_t*>(a.k_pages.data),
                  .v_pages = static_cast<uint8_t*>(a.v_pages.data),
                  .qkv = static_cast<const uint8_t*>(a.qkv.data),
                  .positions = a.positions.as<int32_t>(),
                  .page_table = a.page_table.as<int32_t>(),
                  .lengths = a.lengths.as<int32_t>(),
                  .rows = a.qkv.dim(0),
                  .pages = a.k_pages.dim(1),
                  .table_width = a.page_table.dim(1),
                  .bytes = a.qkv.dim(2) * static_cast<int64_t>(dtype_bytes(a.qkv.dtype)),
                  .heads = a.heads,
                  .kv_heads = a.kv_heads,
                  .one_each = a.page_table.dim(0) == a.qkv.dim(0)};
  if (args.bytes % 16 == 0) {
    store<uint4>(args, ctx);
  } else {
    store<uint16_t>(args, ctx);
  }
}

}  // namespace pivot
