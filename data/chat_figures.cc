// What was built from conversations, for people and programs.
#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "data/chat_build.h"
#include "data/statistics.h"
#include "src/base/check.h"

namespace pivot {
namespace {

using Json = nlohmann::ordered_json;

Json part_json(const ChatPart& p) {
  return {{"conversations", p.conversations},
          {"tokens", p.tokens},
          {"learnt_tokens", p.learnt},
          {"longest", p.longest},
          {"lengths_by_power_of_two", p.lengths},
          {"shards", p.files.size()}};
}

}  // namespace

std::string to_json(const ChatBuildResult& r) {
  const ChatCounts& c = r.counts;
  return Json{{"train", part_json(r.train)},
              {"validation", part_json(r.validation)},
              {"conversations",
               {{"read", c.read},
                {"bad_lines", c.bad},
                {"refused_by_template", c.refused},
                {"without_assistant", c.no_assistant},
                {"fully_masked", c.masked},
                {"longer_dropped", c.longer},
                {"longer_truncated", c.truncated}}},
              {"context", r.context},
              {"tokenizer_hash", r.tokenizer_hash},
              {"template_hash", r.template_hash},
              {"seconds", r.seconds}}
             .dump(2) +
         "\n";
}

std::string to_text(const ChatBuildResult& r) {
  std::string out;
  for (const auto& [name, p] :
       {std::pair<const char*, const ChatPart&>{"train", r.train}, {"validation", r.validation}}) {
    const double share =
        p.tokens > 0 ? static_cast<double>(p.learnt) / static_cast<double>(p.tokens) : 0;
    out += fmt::format(
        "{:<11} {:>9} conversations  {:>12} tokens, {:.1f}% learnt  longest {}  {} shard{}\n", name,
        p.conversations, p.tokens, 100 * share, p.longest, p.files.size(),
        p.files.size() == 1 ? "" : "s");
  }
  const ChatCounts& c = r.counts;
  const auto line = [&](int64_t count, std::string_view what) {
    if (count > 0) out += fmt::format("{:>9} {}\n", count, what);
  };
  line(c.no_assistant, "without a turn of the assistant: dropped");
  line(c.masked, "without a token to learn: dropped");
  line(c.longer, fmt::format("longer than {} tokens: dropped", r.context));
  line(c.truncated, fmt::format("longer than {} tokens: their end was cut off", r.context));
  line(c.refused, "refused by the template: skipped");
  line(c.bad, "bad lines: skipped");
  std::vector<int64_t> lengths = r.train.lengths;
  lengths.resize(std::max(lengths.size(), r.validation.lengths.size()));
  for (size_t i = 0; i < r.validation.lengths.size(); ++i) lengths[i] += r.validation.lengths[i];
  out += length_histogram(lengths);
  return out;
}

}  // namespace pivot
