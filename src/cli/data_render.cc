// pivot data render: what a chat template makes of conversations, and what of it is learnt.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "checkpoints/model_source.h"
#include "data/chat/template.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/decode/session.h"

namespace pivot {
namespace {

struct RenderFlags {
  chat::ReaderOptions reader;
  std::string model;
  std::string tokenizer;
  std::string chat_template;
  std::string variables;
  bool add_generation_prompt = false;
  int64_t limit = 0;
  bool ids = false;
  bool json = false;

  template <class V>
  void visit(V&& v) {
    reader.visit(v);
    v("model", model, "take tokenizer and template of this model");
    v("tokenizer", tokenizer, "a tokenizer, where there is no model to take one from");
    v("template", chat_template,
      "chat template: a built-in name or a file; empty takes the tokenizer's own");
    v("variables", variables, "JSON object of further variables of the template");
    v("add_generation_prompt", add_generation_prompt, "end with the header of an answer");
    v("limit", limit, "stop after this many conversations; 0 renders all");
    v("ids", ids, "token ids, too");
    v("json", json, "one JSON object a conversation, also for those that the template refuses");
  }
};

nlohmann::ordered_json pairs(const std::vector<chat::TextSpan>& spans) {
  auto list = nlohmann::ordered_json::array();
  for (const chat::TextSpan& s : spans) list.push_back({s.begin, s.end});
  return list;
}

/// The text with what is learnt in bold, or in brackets where there is no colour.
std::string marked(const chat::Rendered& rendered, bool color) {
  std::string out;
  int64_t at = 0;
  const auto copy_to = [&](int64_t end) {
    out.append(rendered.text, static_cast<size_t>(at), static_cast<size_t>(end - at));
    at = end;
  };
  for (const chat::TextSpan& span : rendered.learnt) {
    copy_to(span.begin);
    out += color ? "\x1b[1;32m" : "{+";
    copy_to(span.end);
    out += color ? "\x1b[0m" : "+}";
  }
  copy_to(static_cast<int64_t>(rendered.text.size()));
  return out;
}

class Printer {
 public:
  Printer(const RenderFlags& flags, const Tokenizer& tokenizer)
      : flags_(flags),
        tokenizer_(tokenizer),
        template_(chat::load_template(flags.chat_template, tokenizer)),
        options_(chat::render_options(tokenizer)) {
    options_.extra = flags.variables;
    options_.add_generation_prompt = flags.add_generation_prompt;
  }

  void print(const chat::Conversation& conversation) const {
    if (flags_.json) {
      print_json(conversation);
      return;
    }
    const chat::Rendered rendered = template_.render(conversation, options_);
    fmt::print("--- {}:{}\n{}\n", conversation.file, conversation.line,
               marked(rendered, log::use_color()));
    if (rendered.open > 0) fmt::print("({} answers without an end of turn)\n", rendered.open);
    if (!flags_.ids) return;
    const chat::ChatTokens tokens = chat::tokenize(template_, conversation, options_, tokenizer_);
    for (size_t i = 0; i < tokens.ids.size(); ++i) {
      fmt::print("{}{}{}", i > 0 ? " " : "", tokens.ids[i], tokens.learnt[i] != 0 ? "*" : "");
    }
    fmt::print("\n");
  }

 private:
  void print_json(const chat::Conversation& conversation) const {
    nlohmann::ordered_json line;
    line["line"] = conversation.line;
    try {
      const chat::Rendered rendered = template_.render(conversation, options_);
      line["text"] = rendered.text;
      line["learnt"] = pairs(rendered.learnt);
      line["content"] = pairs(rendered.content);
      line["open"] = rendered.open;
      if (flags_.ids) {
        const chat::ChatTokens tokens =
            chat::tokenize(template_, conversation, options_, tokenizer_);
        line["ids"] = tokens.ids;
        line["mask"] = tokens.learnt;
      }
    } catch (const UserError& error) {
      line["error"] = error.what();
    }
    fmt::print("{}\n", line.dump());
  }

  const RenderFlags& flags_;
  const Tokenizer& tokenizer_;
  chat::Template template_;
  chat::RenderOptions options_;
};

std::unique_ptr<Tokenizer> open_tokenizer(const RenderFlags& flags) {
  if (flags.model.empty() == flags.tokenizer.empty()) {
    throw_user("name either a model with --model or a tokenizer with --tokenizer");
  }
  if (flags.model.empty()) return load_tokenizer(flags.tokenizer);
  return tokenizer_of(open_model(flags.model)->info());
}

}  // namespace

int run_data_render(const std::vector<std::string>& args) {
  RenderFlags flags;
  CommandLine line("data render",
                   "What a chat template makes of conversations, learnt parts marked");
  line.options(flags);
  line.footer(
      "Example: pivot data render --input talks.jsonl --tokenizer bytes --template chatml --limit "
      "1");
  if (!line.parse(args)) return 0;
  const auto tokenizer = open_tokenizer(flags);
  const Printer printer(flags, *tokenizer);
  chat::ConversationReader reader(flags.reader);
  chat::Conversation conversation;
  while ((flags.limit == 0 || reader.counts().conversations < flags.limit) &&
         reader.next(conversation)) {
    printer.print(conversation);
  }
  if (reader.counts().bad > 0) log::warning("{} lines were no conversation", reader.counts().bad);
  return 0;
}

}  // namespace pivot
