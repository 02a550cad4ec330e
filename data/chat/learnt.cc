#include "data/chat/learnt.h"

#include <algorithm>
#include <array>

namespace pivot::chat {
namespace {

using jinja::Run;

// What ends a turn in the models whose templates are known. Other spellings are found by
// ends_by_name() behind the last of a turn.
constexpr std::array<std::string_view, 22> kTurnEnds = {"<|im_end|>",
                                                        "<|eot_id|>",
                                                        "<|eom_id|>",
                                                        "<|end|>",
                                                        "<|return|>",
                                                        "<|call|>",
                                                        "<|eot|>",
                                                        "<|endoftext|>",
                                                        "<|end_of_text|>",
                                                        "<|end_of_turn|>",
                                                        "<|END_OF_TURN_TOKEN|>",
                                                        "<|role_end|>",
                                                        "<end_of_turn>",
                                                        "<turn|>",
                                                        "<end_of_utterance>",
                                                        "<|message_end|>",
                                                        "<|observation_end|>",
                                                        "[|endofturn|]",
                                                        "<eos>",
                                                        "</s>",
                                                        "<\xEF\xBD\x9C"
                                                        "end\xE2\x96\x81of\xE2\x96\x81sentence"
                                                        "\xEF\xBD\x9C>",
                                                        "<\xEF\xBD\x9C"
                                                        "end\xE2\x96\x81of\xE2\x96\x81"
                                                        "turn\xEF\xBD\x9C>"};

// Tags that templates write around reasoning.
struct ThinkTags {
  std::string_view open, close;
};
constexpr std::array<ThinkTags, 3> kThinkTags = {
    ThinkTags{"<think>", "</think>"}, ThinkTags{"[THINK]", "[/THINK]"},
    ThinkTags{"<|START_THINKING|>", "<|END_THINKING|>"}};

constexpr size_t kLongestToken = 40;  // of special tokens met in templates

// The length of "<|...|>", "<...>" or "[...]" at the beginning of `text` whose name says that
// something ends, other than a tool call or a thought; else 0.
size_t ends_by_name(std::string_view text) {
  if (text.empty() || (text[0] != '<' && text[0] != '[')) return 0;
  const size_t close = text.substr(0, kLongestToken).find(text[0] == '<' ? '>' : ']');
  if (close == std::string_view::npos) return 0;
  std::string name(text.substr(1, close - 1));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const auto says = [&](std::string_view word) { return name.find(word) != std::string::npos; };
  if (says("tool") || says("call") || says("think") || says("thought") || says(" ")) return 0;
  return says("end") || says("eos") || says("eot") || says("eom") ? close + 1 : 0;
}

// First end of turn in text[from, to): its begin, and its end; npos if there is none.
struct Found {
  size_t begin = std::string_view::npos, end = 0;
};

Found find_end(std::string_view text, size_t from, size_t to, std::string_view eos) {
  const std::string_view part = text.substr(0, to);
  for (size_t at = from; at < to; ++at) {
    if (const size_t n = end_of_turn_at(part.substr(at), eos); n > 0) return {at, at + n};
  }
  return {};
}

Found find_named_end(std::string_view text, size_t from, size_t to) {
  const std::string_view part = text.substr(0, to);
  for (size_t at = from; at < to; ++at) {
    if (part[at] != '<' && part[at] != '[') continue;
    // The first special token decides: what comes behind it is of another turn.
    if (const size_t n = ends_by_name(part.substr(at)); n > 0) return {at, at + n};
    const std::string_view rest = part.substr(at);
    if (rest.starts_with("<|") || rest.starts_with("[")) return {};
  }
  return {};
}

struct Piece {
  size_t begin = 0, end = 0;
  int32_t owner = jinja::kTemplate;
};

/// The spans of one rendering that has no {% generation %}.
class Spans {
 public:
  Spans(const jinja::Output& output, const Conversation& conversation, std::string_view eos,
        Rendered& out)
      : text_(output.text.text()), conversation_(conversation), eos_(eos), out_(out) {
    size_t from = 0;
    for (const Run& run : output.text.runs()) {
      if (run.owner != jinja::kTemplate) pieces_.push_back({from, run.end, run.owner});
      from = run.end;
    }
    drop_empty_marks();
  }

  void find() {
    for (size_t i = 0; i < pieces_.size();) {
      size_t last = i;  // pieces of one turn: the same owner, no end of turn in between
      while (last + 1 < pieces_.size() && pieces_[last + 1].owner == pieces_[i].owner &&
             find_end(text_, pieces_[last].end, pieces_[last + 1].begin, eos_).begin ==
                 std::string_view::npos) {
        ++last;
      }
      if (pieces_[i].owner >= 0) add(i, last);
      i = last + 1;
    }
  }

 private:
  // Empty content marks a place only where nothing else of its message is written.
  void drop_empty_marks() {
    std::vector<bool> written(conversation_.messages.size());
    std::vector<size_t> last(conversation_.messages.size(), SIZE_MAX);
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const Piece& p = pieces_[i];
      if (p.owner < 0) continue;
      if (p.end > p.begin) written[static_cast<size_t>(p.owner)] = true;
      last[static_cast<size_t>(p.owner)] = i;
    }
    std::vector<Piece> kept;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const Piece& p = pieces_[i];
      const bool mark = p.end == p.begin && p.owner >= 0;
      const auto owner = static_cast<size_t>(std::max(0, p.owner));
      if (!mark || (!written[owner] && last[owner] == i)) kept.push_back(p);
    }
    pieces_ = std::move(kept);
  }

  void add(size_t first, size_t last) {
    if (!conversation_.messages[static_cast<size_t>(pieces_[first].owner)].learnt) return;
    const size_t previous = first == 0 ? 0 : pieces_[first - 1].end;
    const size_t next = last + 1 < pieces_.size() ? pieces_[last + 1].begin : text_.size();
    const size_t begin = with_opening_tag(pieces_[first], previous, next);
    size_t end = pieces_[last].end;
    Found found = find_end(text_, end, next, eos_);
    if (found.end == 0) found = find_named_end(text_, end, next);
    if (found.end > 0) {
      end = found.end;
    } else {
      end += closing_tags(text_.substr(end, next - end));
      ++out_.open;
    }
    if (end > begin) {
      out_.learnt.push_back({static_cast<int64_t>(begin), static_cast<int64_t>(end)});
    }
  }

  // Reasoning for which the template writes the tags: the opening one is said, too, if it stands
  // right before the reasoning and is closed within the turn.
  size_t with_opening_tag(const Piece& first, size_t previous, size_t next) const {
    if (first.end == first.begin) return first.begin;
    const std::string_view header = text_.substr(previous, first.begin - previous);
    const std::string_view turn = text_.substr(first.begin, next - first.begin);
    const std::string_view trimmed = header.substr(0, header.find_last_not_of(" \n") + 1);
    for (const ThinkTags& tags : kThinkTags) {
      if (trimmed.ends_with(tags.open) && turn.find(tags.close) != std::string_view::npos) {
        return previous + trimmed.size() - tags.open.size();
      }
    }
    return first.begin;
  }

  // Length of "</arg_value>\n</tool_call>" and the like: what a template closes of a turn that it
  // does not end.
  static size_t closing_tags(std::string_view rest) {
    size_t length = 0;
    for (;;) {
      const size_t tag = rest.find_first_not_of(" \n\"'}])", length);
      if (tag == std::string_view::npos || !rest.substr(tag).starts_with("</")) return length;
      const size_t close = rest.substr(tag, kLongestToken).find('>');
      if (close == std::string_view::npos) return length;
      length = tag + close + 1;
    }
  }

  std::string_view text_;
  const Conversation& conversation_;
  std::string_view eos_;
  Rendered& out_;
  std::vector<Piece> pieces_;
};

// Spans of {% generation %} blocks. One belongs to the message whose text it holds, or else to the
// one its loop was at.
void find_blocks(const jinja::Output& output, const Conversation& conversation, Rendered& out) {
  struct Span {
    size_t begin = 0, end = 0;
    int32_t block = 0, message = -1;
  };
  std::vector<Span> spans;
  size_t from = 0;
  for (const Run& run : output.text.runs()) {
    if (run.block != 0) {
      if (spans.empty() || spans.back().block != run.block || spans.back().end != from) {
        spans.push_back({from, from, run.block, -1});
      }
      spans.back().end = run.end;
      if (spans.back().message < 0 && run.owner >= 0) spans.back().message = run.owner;
    }
    from = run.end;
  }
  for (Span& span : spans) {
    if (span.message < 0) {
      span.message = output.blocks[static_cast<size_t>(span.block) - 1].message;
    }
    const bool learnt =
        span.message < 0 || conversation.messages[static_cast<size_t>(span.message)].learnt;
    if (learnt && span.end > span.begin) {
      out.learnt.push_back({static_cast<int64_t>(span.begin), static_cast<int64_t>(span.end)});
    }
  }
}

}  // namespace

size_t end_of_turn_at(std::string_view text, std::string_view eos) {
  if (!eos.empty() && text.starts_with(eos)) return eos.size();
  if (text.empty() || (text[0] != '<' && text[0] != '[')) return 0;
  for (const std::string_view end : kTurnEnds) {
    if (text.starts_with(end)) return end.size();
  }
  return 0;
}

void find_spans(const jinja::Output& text, const Conversation& conversation,
                const RenderOptions& options, bool has_generation, Rendered& out) {
  size_t from = 0;
  for (const Run& run : text.text.runs()) {
    if (run.owner != jinja::kTemplate && run.end > from) {
      if (!out.content.empty() && out.content.back().end == static_cast<int64_t>(from)) {
        out.content.back().end = run.end;
      } else {
        out.content.push_back({static_cast<int64_t>(from), run.end});
      }
    }
    from = run.end;
  }
  if (has_generation) {
    find_blocks(text, conversation, out);
  } else {
    Spans(text, conversation, options.eos_token, out).find();
  }
}

}  // namespace pivot::chat
