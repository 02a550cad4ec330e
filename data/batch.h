#pragma once
/// One micro-batch of packed tokens on the host.

#include <cstdint>
#include <vector>

namespace pivot {

inline constexpr int32_t kNoTarget = -1;

/// `rows` packed sequences one after the other, N tokens in all. Documents never cross a row's end
/// in doc_offsets: a document cut by a row's end becomes two documents.
struct Batch {
  std::vector<int32_t> tokens;     // (N)
  std::vector<int32_t> targets;    // (N): the next token of the same document, kNoTarget where the
                                   // document ends or the next token is not to be learnt
  std::vector<int32_t> positions;  // (N): index inside the document, restarts at 0
  std::vector<int32_t> doc_offsets;  // (n + 1): first token of each document; last is N
  int64_t rows = 0;
  int64_t max_document = 0;  // length of the longest document
  int64_t bytes = 0;         // UTF-8 bytes that the valid targets stand for; 0 where unknown
  int64_t valid_targets() const;
};

}  // namespace pivot
