#include "src/eval/options.h"

#include <algorithm>
#include <string_view>

#include "src/base/check.h"

namespace pivot::eval {
namespace {

bool begins_spec(std::string_view piece) {
  if (piece.starts_with("dense") || piece.starts_with("topk")) return true;
  const size_t colon = piece.find(':');
  return colon != std::string_view::npos && colon > 0 &&
         piece.substr(0, colon).find_first_not_of("0123456789-*") == std::string_view::npos;
}

}  // namespace

std::vector<std::string> join_specs(const std::vector<std::string>& pieces) {
  std::vector<std::string> specs;
  for (const std::string& piece : pieces) {
    if (specs.empty() || begins_spec(piece)) {
      specs.push_back(piece);
    } else {
      specs.back() += "," + piece;
    }
  }
  return specs;
}

void validate(const EvalOptions& o) {
  if (o.model.empty()) throw_user("--model is missing: a run directory or a checkpoint");
  if (o.data.empty() && o.questions.empty()) {
    throw_user(
        "--data (token shards, 'pivot data' makes them) or --questions (conversations) is "
        "missing");
  }
  const bool of_data = o.task == "retrieval" || o.task == "perplexity";
  const bool of_questions = o.task == "answers" || o.task == "dialogues";
  if (o.task != "auto" && !of_data && !of_questions) {
    throw_user("--task '{}' is not known: retrieval, perplexity, answers, dialogues or auto",
               o.task);
  }
  if (of_data && !o.questions.empty()) {
    throw_user("--task {} is of token shards, --questions takes answers or dialogues", o.task);
  }
  if (of_questions && !o.data.empty()) {
    throw_user("--task {} is of conversations: name them with --questions, not --data", o.task);
  }
  if (o.questions.empty() && !o.chat_template.empty()) {
    throw_user("--template {} is for --questions, which is missing", o.chat_template);
  }
  for (const std::string& mode : o.mode) {
    if (mode != "train" && mode != "decode") {
      throw_user("--mode '{}' is not known: train, decode or train,decode", mode);
    }
    if (mode == "train" && !o.questions.empty() && o.task != "dialogues") {
      throw_user("--mode train: answers are written token by token, which is mode decode");
    }
  }
  if (o.limit < 0) throw_user("--limit {}: must be 0 (all) or more", o.limit);
  if (o.prefix < 0) throw_user("--prefix {}: must be 0 or more", o.prefix);
  if (o.seq_len < 0 || o.seq_len == 1)
    throw_user("--seq-len {}: needs at least 2 tokens", o.seq_len);
  if (o.tokens < 1) throw_user("--tokens {}: must be at least 1", o.tokens);
  if (o.batch < 1) throw_user("--batch {}: must be at least 1", o.batch);
  if (o.threads < 0) throw_user("--threads {}: must be 0 (all) or more", o.threads);
  if (o.name.find('/') != std::string::npos) throw_user("--name '{}' must not hold a '/'", o.name);
}

}  // namespace pivot::eval
