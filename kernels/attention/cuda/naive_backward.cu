// Backward of the naive path: a block a query for dQ, then a block a key for dK and dV, each in a
// fixed order. Membership is tested again from (tau, jcut), scores are computed again.

#include "kernels/attention/cuda/naive.cuh"
#include "kernels/attention/cuda/paths.h"
#include "kernels/cuda/launch.cuh"

namespace pivot::attention {
namespace naive {
namespace {

template <class T>
struct Backward {
  Problem<T> problem;
  T* dqkv;
  const T* dout;
  const T* out;
  const float* lse;
  const float* tau;
  const int32_t* jcut;
  float* delta;  // (T, H): dout . out
};

struct Space {
  List list;
  float reals[kThreads / cuda::kWarp];
};

// Row (t, h) of the (T, H) tensors.
template <class T>
__device__ int64_t row_index(const Backward<T>& a, int64_t t, int head) {
  return t * a.problem.heads + head;
}

// What a kept pair adds to the gradients.
struct Pair {
  float p;
  float ds;  // times the scale
};

// What the score of a pair is ranked by, computed anew.
template <class T>
__device__ float rank(const Problem<T>& p, int32_t query, int head, int32_t key, int32_t begin) {
  return ranking_score(p, head, key, begin, query, [&](int h) {
    return score(p.query(query, h), p.key(key, h / p.group), p.width);
  });
}

template <class T>
__device__ Pair pair_of(const Backward<T>& a, int32_t query, int head, int32_t key) {
  const Problem<T>& p = a.problem;
  const int64_t row = row_index(a, query, head);
  const int kv_head = head / p.group;
  const float s = score(p.query(query, head), p.key(key, kv_head), p.width);
  const float weight = expf(fmaf(s, p.scale, -a.lse[row]));
  const float dp = dot(a.dout + row * p.width, p.value(key, kv_head), p.width);
  return {weight, weight * (dp - a.delta[row]) * p.scale};
}

// delta and dQ of one query and head.
template <class T>
__global__ void __launch_bounds__(kThreads) backward_queries(Backward<T> a) {
  __shared__ Space space;
  const Problem<T>& p = a.problem;
  const int64_t row = blockIdx.x;
  const auto query = static_cast<int32_t>(row / p.heads);
  const int head = static_cast<int>(row % p.heads);
  const int32_t begin = document_of(p.doc_offsets, p.documents, query).begin;
  const Cut cut{a.tau[row], a.jcut[row]};
  float product = 0;
  for (int d = static_cast<int>(threadIdx.x); d < p.width; d += kThreads) {
    product = fmaf(cuda::as_float(a.dout[row * p.width + d]),
                   cuda::as_float(a.out[row * p.width + d]), product);
  }
  product = cuda::block_sum<kThreads>(product, space.reals);
  if (threadIdx.x == 0) a.delta[row] = product;
  const Columns columns = clear_columns(reinterpret_cast<float*>(cuda::dynamic_shared()), p.width);
  __syncthreads();  // delta is read below
  for (int32_t first = begin; first <= query; first += kThreads) {
    const int32_t key = first + static_cast<int32_t>(threadIdx.x);
    const bool kept =
        key <= query &&
        (cut.keeps_all(query) || is_kept(rank(p, query, head, key, begin), key, cut.tau, cut.jcut));
    const Position at = position_of(kept, space.list.counts);
    if (kept) {
      space.list.index[at.before] = key;
      space.list.weight[at.before] = pair_of(a, query, head, key).ds;
    }
    __syncthreads();
    add_rows(columns, space.list.index, space.list.weight, at.total,
             [&](int32_t j) { return p.key(j, head / p.group); });
  }
  __syncthreads();
  store_columns(columns, 1.0F, a.dqkv + (p.query(query, head) - p.qkv));
}

// dK and dV of one key: rows in ascending order within a chunk of kThreads, head after head.
template <class T>
__global__ void __launch_bounds__(kThreads) backward_keys(Backward<T> a) {
  __shared__ Space space;
  const Problem<T>& p = a.problem;
  const auto key = static_cast<int32_t>(blockIdx.x / p.kv_heads);
  const int kv_head = static_cast<int>(blockIdx.x % p.kv_heads);
  const Document document = document_of(p.doc_offsets, p.documents, key);
  auto* sums = reinterpret_cast<float*>(cuda::dynamic_shared());
  const Columns dkey = clear_columns(sums, p.width);
  const Columns dvalue = clear_columns(sums + column_floats(p.width), p.width);
  for (int32_t first = key; first < document.end; first += kThreads) {
    const int32_t query = first + static_cast<int32_t>(threadIdx.x);
    for (int head = kv_head * p.group; head < (kv_head + 1) * p.group; ++head) {
      bool kept = false;
      if (query < document.end) {
        const int64_t row = row_index(a, query, head);
        const Cut cut{a.tau[row], a.jcut[row]};
        kept = cut.keeps_all(query) ||
               is_kept(rank(p, query, head, key, document.begin), key, cut.tau, cut.jcut);
      }
      const Position at = position_of(kept, space.list.counts);
      if (kept) {
        const Pair pair = pair_of(a, query, head, key);
        space.list.index[at.before] = query;
        space.list.weight[at.before] = pair.ds;
        space.list.other[at.before] = pair.p;
      }
      __syncthreads();
      add_rows(dkey, space.list.index, space.list.weight, at.total,
               [&](int32_t t) { return p.query(t, head); });
      add_rows(dvalue, space.list.index, space.list.other, at.total,
               [&](int32_t t) { return a.dout + row_index(a, t, head) * p.width; });
    }
  }
  __syncthreads();
  store_columns(dkey, 1.0F, a.dqkv + (p.key(key, kv_head) - p.qkv));
  store_columns(dvalue, 1.0F, a.dqkv + (p.value(key, kv_head) - p.qkv));
}

template <class T>
void launch_backward(const AttentionBackward& a, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const Problem<T> problem = problem_of<T>(a);
  const Tensor delta = ctx.scratch.tensor(DType::F32, a.lse.shape);
  const Backward<T> backward{.problem = problem,
                             .dqkv = a.dqkv.as<T>(),
                             .dout = a.dout.as<T>(),
                             .out = a.out.as<T>(),
                             .lse = a.lse.as<float>(),
                             .tau = a.tau.as<float>(),
                             .jcut = a.jcut.as<int32_t>(),
                             .delta = delta.as<float>()};
  const auto columns = column_floats(problem.width) * sizeof(float);
  cuda::launch(&backward_queries<T>, dim3(cuda::grid_size(problem.tokens * problem.heads)),
               dim3(kThreads), columns, cuda::stream(ctx), backward);
  cuda::launch(&backward_keys<T>, dim3(cuda::grid_size(problem.tokens * problem.kv_heads)),
               dim3(kThreads), 2 * columns, cuda::stream(ctx), backward);
}

}  // namespace
}  // namespace naive

void naive_backward(const AttentionBackward& a, Context& ctx) {
  if (a.qkv.dim(0) == 0) return;
  if (a.qkv.dtype == DType::F32) {
    naive::launch_backward<float>(a, ctx);
  } else {
    naive::launch_backward<BFloat16>(a, ctx);
  }
}

}  // namespace pivot::attention
