// GGUF vocabulary -> tokenizer.json and its companions. The large parts are printed as they come:
// a document tree of half a million merges would be a hundred times their size.
#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "checkpoints/gguf/pre_tokenizer.h"
#include "checkpoints/gguf/vocabulary.h"
#include "src/base/check.h"

namespace pivot {
namespace {

using Json = nlohmann::ordered_json;
using Ids = std::unordered_map<std::string_view, int32_t>;

constexpr char kSpaceSign[] = "\xE2\x96\x81";  // U+2581, SentencePiece's sign for a space

// Pieces are words: a bound that keeps trying all their splits linear in the file.
constexpr size_t kLongestPiece = 512;

std::string quoted(std::string_view text, const std::string& where) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    throw_user("{}: '{}' of its vocabulary is not UTF-8", where, shown_name(text));
  }
}

bool is_padding(const GgufVocabulary& v, size_t id) {
  return v.types[id] == GgufTokenType::Unused && v.tokens[id] == padding_token(id);
}

Ids token_ids(const GgufVocabulary& v, const std::string& where) {
  Ids ids;
  ids.reserve(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (is_padding(v, i)) continue;
    const auto [found, added] = ids.emplace(v.tokens[i], static_cast<int32_t>(i));
    if (!added) {
      throw_user("{}: token '{}' occurs twice, as {} and {}", where, shown_name(v.tokens[i]),
                 found->second, i);
    }
  }
  return ids;
}

// Unknown, control and user-defined tokens are found in text before everything else.
bool is_added(GgufTokenType type) {
  return type == GgufTokenType::Unknown || type == GgufTokenType::Control ||
         type == GgufTokenType::UserDefined;
}

std::string print_added(const GgufVocabulary& v, const std::string& where) {
  std::string out;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (!is_added(v.types[i]) || v.tokens[i].empty()) continue;
    out += fmt::format(
        "{}{{\"id\":{},\"content\":{},\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
        "\"normalized\":false,\"special\":{}}}",
        out.empty() ? "" : ",\n", i, quoted(v.tokens[i], where),
        v.types[i] != GgufTokenType::UserDefined);
  }
  return "[" + out + "]";
}

std::string print_vocab(const GgufVocabulary& v, const std::string& where) {
  std::string out;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (is_padding(v, i)) continue;
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", quoted(v.tokens[i], where), i);
  }
  return "{" + out + "}";
}

std::string print_scored(const GgufVocabulary& v, const std::string& where) {
  std::string out;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    out += fmt::format("{}[{},{}]", out.empty() ? "" : ",", quoted(v.tokens[i], where),
                       Json(static_cast<double>(v.scores[i])).dump());
  }
  return "[" + out + "]";
}

std::string print_merges(const std::vector<std::string>& merges, const Ids& ids,
                         const std::string& where) {
  std::string out;
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ', 1);
    const std::string_view text = merge;
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      throw_user("{}: merge '{}' is not two tokens with a space between", where, shown_name(text));
    }
    const std::string_view left = text.substr(0, space);
    const std::string_view right = text.substr(space + 1);
    const std::string both = std::string(left) + std::string(right);
    if (!ids.contains(left) || !ids.contains(right) || !ids.contains(both)) {
      throw_user("{}: merge '{}' uses or makes a token that the vocabulary does not have", where,
                 shown_name(text));
    }
    out +=
        fmt::format("{}[{},{}]", out.empty() ? "" : ",", quoted(left, where), quoted(right, where));
  }
  return "[" + out + "]";
}

bool has_all_bytes(const Ids& ids) {
  for (int byte = 0; byte < 256; ++byte) {
    if (!ids.contains(fmt::format("<0x{:02X}>", byte))) return false;
  }
  return true;
}

// Spaces become the space sign; with a prefix, every stretch of text begins with one (also after
// a special token, as in llama.cpp and in Llama 2's own tokenizer.json).
std::string print_space_steps(const GgufVocabulary& v) {
  const Json replace = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceSign}};
  const Json prepend = {{"type", "Prepend"}, {"prepend", kSpaceSign}};
  Json normalizer = replace;
  if (v.add_space_prefix) {
    normalizer = {{"type", "Sequence"}, {"normalizers", {prepend, replace}}};
  }
  return fmt::format("\"normalizer\":{},\"pre_tokenizer\":null", normalizer.dump());
}

std::string print_space_decoder(const GgufVocabulary& v) {
  Json steps = {{{"type", "Replace"}, {"pattern", {{"String", kSpaceSign}}}, {"content", " "}},
                {{"type", "ByteFallback"}},
                {{"type", "Fuse"}}};
  if (v.add_space_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return Json{{"type", "Sequence"}, {"decoders", steps}}.dump();
}

// What is put around a text.
std::string print_post_processor(const GgufVocabulary& v) {
  if (!v.add_bos && !v.add_eos) return "null";
  const auto token = [&](int32_t id, int type) {
    return Json{{"SpecialToken", {{"id", v.tokens[static_cast<size_t>(id)]}, {"type_id", type}}}};
  };
  const auto text = [](const char* name, int type) {
    return Json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  Json single = Json::array();
  Json pair = Json::array();
  Json special = Json::object();
  const auto add = [&](Json& list, int32_t id, int type) {
    const std::string& name = v.tokens[static_cast<size_t>(id)];
    list.push_back(token(id, type));
    special[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
  };
  if (v.add_bos) add(single, v.bos, 0);
  single.push_back(text("A", 0));
  if (v.add_eos) add(single, v.eos, 0);
  for (const Json& step : single) pair.push_back(step);
  if (v.add_bos) add(pair, v.bos, 1);
  pair.push_back(text("B", 1));
  if (v.add_eos) add(pair, v.eos, 1);
  return Json{{"type", "TemplateProcessing"},
              {"single", single},
              {"pair", pair},
              {"special_tokens", special}}
      .dump();
}

std::string print_byte_level(const GgufVocabulary& v, const Ids& ids, const std::string& where) {
  const PreTokenizer* pre = find_pre_tokenizer(v.pre);
  PIVOT_CHECK(pre != nullptr, "pre-tokenizer '{}'", v.pre);
  const Json decoder = {{"type", "ByteLevel"},
                        {"add_prefix_space", true},
                        {"trim_offsets", true},
                        {"use_regex", true}};
  return fmt::format(
      "{},\n\"post_processor\":{},\n\"decoder\":{},\n"
      "\"model\":{{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
      "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
      "\"byte_fallback\":false,\"ignore_merges\":{},\n\"vocab\":{},\n\"merges\":{}}}",
      print_pre_tokenizer(*pre), print_post_processor(v), decoder.dump(),
      pre->ignore_merges == IgnoreMerges::Yes, print_vocab(v, where),
      print_merges(v.merges, ids, where));
}

std::string print_sentencepiece(const GgufVocabulary& v, const Ids& ids, const std::string& where) {
  const std::string unk = v.unk >= 0 ? quoted(v.tokens[static_cast<size_t>(v.unk)], where) : "null";
  std::string model;
  if (v.model == "t5") {
    if (v.unk < 0) throw_user("{}: key 'tokenizer.ggml.unknown_token_id' is missing", where);
    model =
        fmt::format("{{\"type\":\"Unigram\",\"unk_id\":{},\"byte_fallback\":{},\n\"vocab\":{}}}",
                    v.unk, has_all_bytes(ids), print_scored(v, where));
  } else {
    model = fmt::format(
        "{{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":{},"
        "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":true,"
        "\"byte_fallback\":{},\"ignore_merges\":false,\n\"vocab\":{},\n\"merges\":{}}}",
        unk, has_all_bytes(ids), print_vocab(v, where),
        print_merges(v.merges.empty() ? sentencepiece_merges(v, where) : v.merges, ids, where));
  }
  return fmt::format("{},\n\"post_processor\":{},\n\"decoder\":{},\n\"model\":{}",
                     print_space_steps(v), print_post_processor(v), print_space_decoder(v), model);
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::vector<std::string> sentencepiece_merges(const GgufVocabulary& v, const std::string& where) {
  struct Merge {
    float score;
    size_t left_length, right_length;
    int32_t piece, left, right;
  };
  const Ids ids = token_ids(v, where);
  std::vector<Merge> merges;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (v.types[i] != GgufTokenType::Normal) continue;  // no text is merged into the others
    const std::string_view piece = v.tokens[i];
    if (piece.size() > kLongestPiece) {
      throw_user("{}: token '{}' of {} bytes; the longest allowed has {}", where, shown_name(piece),
                 piece.size(), kLongestPiece);
    }
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      const auto left = ids.find(piece.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(piece.substr(cut));
      if (right == ids.end()) continue;
      merges.push_back({v.scores[i], characters(left->first), characters(right->first),
                        static_cast<int32_t>(i), left->second, right->second});
    }
  }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tuple(-a.score, b.left_length, b.right_length, a.piece, a.left, a.right) <
           std::tuple(-b.score, a.left_length, a.right_length, b.piece, b.left, b.right);
  });
  std::vector<std::string> texts;
  texts.reserve(merges.size());
  for (const Merge& m : merges) {
    texts.push_back(v.tokens[static_cast<size_t>(m.left)] + " " +
                    v.tokens[static_cast<size_t>(m.right)]);
  }
  return texts;
}

std::string print_tokenizer_json(const GgufVocabulary& v, const std::string& where) {
  const Ids ids = token_ids(v, where);
  return fmt::format(
      "{{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n\"added_tokens\":{},\n{}}}\n",
      print_added(v, where),
      v.model == "gpt2" ? print_byte_level(v, ids, where) : print_sentencepiece(v, ids, where));
}

std::string print_tokenizer_config(const GgufVocabulary& v, const std::string& where) {
  Json config = Json::object();
  const auto token = [&](const char* name, int32_t id) {
    if (id >= 0) config[name] = v.tokens[static_cast<size_t>(id)];
  };
  config["add_bos_token"] = v.add_bos;
  config["add_eos_token"] = v.add_eos;
  token("bos_token", v.bos);
  token("eos_token", v.eos);
  token("unk_token", v.unk);
  token("pad_token", v.pad);
  config["clean_up_tokenization_spaces"] = false;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!v.chat_template.empty()) config["chat_template"] = v.chat_template;
  try {
    return config.dump(2) + "\n";
  } catch (const Json::exception&) {
    throw_user("{}: its chat template is not UTF-8", where);
  }
}

std::string print_generation_config(const GgufVocabulary& v) {
  Json config = Json::object();
  if (v.bos >= 0) config["bos_token_id"] = v.bos;
  std::vector<int32_t> ends;
  for (const int32_t id : {v.eos, v.eot, v.eom}) {
    if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  }
  if (ends.size() == 1) config["eos_token_id"] = ends.front();
  if (ends.size() > 1) config["eos_token_id"] = ends;
  if (v.pad >= 0) config["pad_token_id"] = v.pad;
  return config.dump(2) + "\n";
}

}  // namespace pivot
