#pragma once
/// Stop strings on decoded text that arrives in pieces.

#include <string>
#include <string_view>
#include <vector>

namespace pivot {

/// Gives out text as soon as no stop string can begin in it any more.
class StopMatcher {
 public:
  /// Throws UserError on an empty stop string.
  explicit StopMatcher(std::vector<std::string> stops);

  /// The text that became certain. After a stop string was completed: the text before its first
  /// byte, and nothing from then on.
  std::string push(std::string_view text);
  /// What is still held back because it could have become a stop string.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace pivot
