#pragma once
/// Keys and values of new tokens into the pages of the KV cache (decode_attention.h describes the
/// pages), one token of each sequence or many tokens of one:
///   row i holds token positions[i] of sequence i where B = N, of the only sequence where B = 1;
///   it is stored if positions[i] < lengths of that sequence, so that the unused rows of a batch
///   (length 0) store nothing.

#include "kernels/decode_attention/decode_attention.h"
#include "kernels/op.h"

namespace pivot {

struct KvStore {
  Tensor k_pages;     // in-out (G, P, D * kPageTokens), F32 or BF16 as qkv; BF16 on CUDA only
  Tensor v_pages;     // in-out (G, P, kPageTokens, D)
  Tensor qkv;         // in (N, H + 2 G, D) after RoPE: the KV heads are read
  Tensor positions;   // in (N) I32, from 0
  Tensor page_table;  // in (B, S) I32
  Tensor lengths;     // in (B) I32: tokens of each sequence, new ones included
  int heads;          // H
  int kv_heads;       // G
};
void check(const KvStore& a);
Cost cost(const KvStore& a);
void kv_store_cpu(const KvStore& a, Context& ctx);
void kv_store_cuda(const KvStore& a, Context& ctx);
inline constexpr Op<KvStore> kv_store{"kv_store", &kv_store_cpu, PIVOT_CUDA_TWIN(kv_store_cuda)};

}  // namespace pivot
