#pragma once
/// A template's own "no".

#include <string>

#include "src/base/check.h"

namespace pivot::chat {

/// What raise_exception() says: the template is fine, this conversation does not suit it.
class Refusal : public UserError {
 public:
  explicit Refusal(const std::string& message)
      : UserError("the chat template refuses the conversation: " + message) {}
};

}  // namespace pivot::chat
