#include "data/chat_show.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

constexpr const char* kReset = "\x1b[0m";

/// A terminal obeys control characters; text that people wrote must not command it.
std::string without_controls(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) {
      out += fmt::format("<0x{:02X}>", byte);
    } else {
      out += c;
    }
  }
  return out;
}

const char* color_of(const ChatRun& run) {
  if (run.learnt) return run.special ? "\x1b[1;7;32m" : "\x1b[1;32m";
  return run.special ? "\x1b[2;7m" : "\x1b[2m";
}

}  // namespace

std::vector<ChatRun> chat_runs(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                               std::span<const uint8_t> learnt) {
  PIVOT_CHECK(tokens.size() == learnt.size(), "{} tokens, {} marks", tokens.size(), learnt.size());
  std::vector<ChatRun> runs;
  StreamDecoder decoder(tokenizer);
  const auto append = [&](const std::string& text, bool is_learnt) {
    if (text.empty()) return;
    if (runs.empty() || runs.back().special || runs.back().learnt != is_learnt) {
      runs.push_back({"", is_learnt, false});
    }
    runs.back().text += text;
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool is_learnt = learnt[i] != 0;
    if (tokenizer.token_bytes(tokens[i]) > 0) {
      append(decoder.push(tokens[i]), is_learnt);
      continue;
    }
    append(decoder.finish(), i > 0 && learnt[i - 1] != 0);
    runs.push_back({tokenizer.piece(tokens[i]), is_learnt, true});
  }
  if (!tokens.empty()) append(decoder.finish(), learnt.back() != 0);
  return runs;
}

std::string show_chat(const std::vector<ChatRun>& runs, Style style) {
  std::string out;
  bool inside = false;  // of {+ +}
  for (const ChatRun& run : runs) {
    if (style == Style::Color) {
      out += color_of(run) + without_controls(run.text) + kReset;
      continue;
    }
    if (run.learnt != inside) out += run.learnt ? "{+" : "+}";
    inside = run.learnt;
    out += without_controls(run.text);
  }
  return out + (inside ? "+}" : "");
}

std::string to_json(const std::vector<ChatRun>& runs) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ChatRun& run : runs) {
    list.push_back({{"text", run.text}, {"learnt", run.learnt}, {"special", run.special}});
  }
  return list.dump(1) + "\n";
}

}  // namespace pivot
