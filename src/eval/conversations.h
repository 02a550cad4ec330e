#pragma once
/// Conversations as an evaluation takes them: questions to be answered, or dialogues whose
/// assistant turns are predicted.

#include <memory>
#include <string>
#include <vector>

#include "data/chat/template.h"
#include "src/eval/answers.h"
#include "src/eval/corpus.h"

namespace pivot::eval {

/// How a model is talked to.
struct ChatFormat {
  chat::Template chat_template;
  std::unique_ptr<Tokenizer> tokenizer;
};

/// JSON lines (.gz, .zst too), a conversation each, in any format of chat::parse_conversation. The
/// answer is the last message, the assistant's; or the key "answers" holds all texts that are
/// right, and the last message is the user's. Questions with the same value of the key "cluster"
/// are one unit of statistics. The prompt is the conversation up to the last message of the user
/// with the header of an answer. Throws UserError naming file and line.
std::vector<Question> read_questions(const std::string& path, const ChatFormat& format);

/// One conversation an item, whole; asked are the tokens that training on it would learn. All files
/// and formats of chat::ConversationReader. Throws UserError as that does.
std::unique_ptr<Corpus> open_dialogues(const std::string& path, const ChatFormat& format);

}  // namespace pivot::eval
