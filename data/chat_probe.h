#pragma once
/// One conversation as training will see it, looked at before hours are spent on all of them.

#include <string>
#include <vector>

#include "data/chat_build.h"
#include "data/chat_show.h"

namespace pivot {

struct ChatProbe {
  std::string place;  // "user.jsonl:1"
  std::vector<ChatRun> runs;
  int64_t tokens = 0;
  int64_t learnt = 0;     // tokens
  std::string ends_with;  // the last token that is learnt, as people read it: "<|im_end|> (2)"
  std::vector<std::string> warnings;
};

/// The first conversation of options.train that would be learnt from, rendered, encoded, masked and
/// checked. Throws UserError when there is none, and when the masks are wrong: the end of a turn is
/// not learnt (the model would never stop), a header is, or the text begins with the
/// beginning-of-text token twice.
ChatProbe probe_chat(const ChatDataOptions& options, const ChatTarget& target);

}  // namespace pivot
