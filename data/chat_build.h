#pragma once
/// Conversations to masked token shards whose documents are never cut.

#include <cstdint>
#include <string>
#include <vector>

#include "data/chat/template.h"
#include "data/chat_options.h"
#include "data/tokenizer.h"
#include "src/base/parallel.h"
#include "src/base/rational.h"

namespace pivot {

/// What conversations become.
struct ChatTarget {
  const Tokenizer& tokenizer;
  const chat::Template& chat_template;
  int64_t context = 0;  // most tokens of a conversation; 0: any number
  std::string out;      // directory: train/, validation/, the tokenizer, chat.json
  int64_t shard_tokens = int64_t{64} << 20;
  bool overwrite = false;
  /// Whether a share that holds out nothing, of few conversations, is an error or a warning.
  enum class FewHeldOut { Refuse, Warn } few_held_out = FewHeldOut::Refuse;
};

/// Figures of one part (training or validation).
struct ChatPart {
  int64_t conversations = 0;
  int64_t tokens = 0;
  int64_t learnt = 0;            // tokens that are targets
  int64_t longest = 0;           // tokens
  std::vector<int64_t> lengths;  // [i]: conversations of 2^i to 2^(i+1) - 1 tokens
  std::vector<std::string> files;
};

/// What became of the conversations that were read; what is not counted here was written whole.
struct ChatCounts {
  int64_t read = 0;
  int64_t bad = 0;           // no conversation: skipped
  int64_t refused = 0;       // by the template: skipped
  int64_t no_assistant = 0;  // nobody to learn from: dropped
  int64_t masked = 0;        // no token to be learnt: dropped
  int64_t longer = 0;        // than the context: dropped
  int64_t truncated = 0;     // than the context: its end was cut off
};

struct ChatBuildResult {
  ChatPart train, validation;
  ChatCounts counts;
  std::string tokenizer_hash, template_hash;
  int64_t context = 0;
  std::string longer;  // as ChatDataOptions
  double seconds = 0;
};

/// The same files for any number of threads. Throws UserError naming file and line of a bad
/// conversation, when nothing is left of a part, and as the readers do; then nothing is written.
ChatBuildResult build_chat(const ChatDataOptions& options, const ChatTarget& target,
                           ThreadPool& pool);

/// Identity of what build_chat would write: contents of the files, template, tokenizer and options.
std::string chat_fingerprint(const ChatDataOptions& options, const ChatTarget& target);
/// The fingerprint of a directory that build_chat wrote, "" where there is none.
std::string read_chat_fingerprint(const std::string& directory);

/// The first conversation of options.train that is learnt from, its turns marked as options.learn
/// says. Throws UserError where there is none, and on bad ones before it.
chat::Conversation first_conversation(const ChatDataOptions& options, const ChatTarget& target);

/// Whether conversation `index` is held out. Of every 1 / share neighbours one is, which one is
/// random: small sets have their share too, and no pattern in their order meets it.
bool is_held_out(int64_t index, Rational share);

std::string to_text(const ChatBuildResult& result);
std::string to_json(const ChatBuildResult& result);

}  // namespace pivot
