#pragma once
/// The three kinds of error and how to raise them.
///   UserError  something the user can put right (option, file, data): exit 2, message says what to
///   do. Error      the environment failed (disk, memory, device, library): exit 1. BugError Pivot
///   itself is wrong: raised by PIVOT_CHECK, exit 70.
/// Nothing but `main` (and the server, per request) catches them.

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/core.h>

namespace pivot {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class UserError : public Error {
 public:
  using Error::Error;
};

class BugError : public Error {
 public:
  using Error::Error;
};

/// throw_user("shard {}: {} documents, {} expected", path, got, want);
template <class... A>
[[noreturn]] void throw_user(fmt::format_string<A...> text, A&&... args) {
  throw UserError(fmt::format(text, std::forward<A>(args)...));
}

template <class... A>
[[noreturn]] void throw_error(fmt::format_string<A...> text, A&&... args) {
  throw Error(fmt::format(text, std::forward<A>(args)...));
}

[[noreturn]] void fail_check(const char* condition, const char* file, int line,
                             const std::string& message);

}  // namespace pivot

/// PIVOT_CHECK(x.rank == 2, "x must be (N, C), is {}", to_string(x)): a bug in Pivot if it fails.
#define PIVOT_CHECK(condition, ...)                                                    \
  do {                                                                                 \
    if (!(condition)) [[unlikely]]                                                     \
      ::pivot::fail_check(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
  } while (false)
