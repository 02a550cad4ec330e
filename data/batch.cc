#include "data/batch.h"

#include <algorithm>

namespace pivot {

int64_t Batch::valid_targets() const {
  return static_cast<int64_t>(targets.size()) -
         std::count(targets.begin(), targets.end(), kNoTarget);
}

}  // namespace pivot
