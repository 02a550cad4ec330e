#include "src/eval/packed_documents.h"

#include <algorithm>

namespace pivot::eval {

PackedDocuments::PackedDocuments(std::span<const EvalDocument> documents) : offsets{0} {
  for (const EvalDocument& document : documents) {
    const auto length = static_cast<int64_t>(document.tokens.size());
    tokens.insert(tokens.end(), document.tokens.begin(), document.tokens.end());
    targets.insert(targets.end(), document.targets.begin(), document.targets.end());
    for (int64_t t = 0; t < length; ++t) positions.push_back(static_cast<int32_t>(t));
    offsets.push_back(static_cast<int32_t>(tokens.size()));
    longest = std::max(longest, length);
  }
}

Tensor upload_ids(const std::vector<int32_t>& ids, Context& ctx) {
  const Tensor tensor = ctx.scratch.tensor(DType::I32, {static_cast<int64_t>(ids.size())});
  copy_from_host(tensor, ids.data(), ctx);
  return tensor;
}

ModelInput upload_input(const PackedDocuments& packed, Context& ctx) {
  ModelInput input;
  input.tokens = upload_ids(packed.tokens, ctx);
  input.positions = upload_ids(packed.positions, ctx);
  input.doc_offsets = upload_ids(packed.offsets, ctx);
  input.max_document = packed.longest;
  return input;
}

}  // namespace pivot::eval
