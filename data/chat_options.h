#pragma once
/// What conversations to learn from, and how: the options of `pivot data chat` and the group `chat`
/// of a fine-tuning run.

#include <string>
#include <vector>

namespace pivot {

struct ChatDataOptions {
  std::vector<std::string> train;
  std::vector<std::string> validation = {"2%"};
  std::string chat_template;
  std::string variables;
  std::string format = "auto";
  std::string longer = "drop";
  std::string learn = "all";
  bool skip_bad = false;

  template <class V>
  void visit(V&& v) {
    v("train", train, "conversations: JSON lines (.gz .zst too), directories, globs");
    visit_rest(v);
  }
  /// All but `train`, which commands name each in their way.
  template <class V>
  void visit_rest(V&& v) {
    v("validation", validation, "held out: files of conversations, or a share (5%); 0% is none");
    v("template", chat_template,
      "chat template: a built-in name or a file; empty takes the tokenizer's own");
    v("variables", variables, "JSON object of further variables of the template");
    v("format", format,
      "auto, messages, sharegpt, alpaca or prompt (prompt and completion); auto tells by the keys");
    v("longer", longer, "conversations longer than the context: drop, truncate or refuse");
    v("learn", learn, "what the assistant says in all turns, or in the last one of a conversation");
    v("skip_bad", skip_bad,
      "count and skip what is no conversation or what the template refuses instead of stopping");
  }
};

}  // namespace pivot
