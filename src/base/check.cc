#include "src/base/check.h"

namespace pivot {

void fail_check(const char* condition, const char* file, int line, const std::string& message) {
  throw BugError(fmt::format("{}:{}: {} ({} does not hold)", file, line, message, condition));
}

}  // namespace pivot
