#include <fstream>
#include <functional>

#include <nlohmann/json.hpp>

#include "checkpoints/gguf/pre_tokenizer.h"
#include "checkpoints/gguf/vocabulary.h"
#include "src/base/check.h"
#include "tests/checkpoints/gguf_build.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

using Json = nlohmann::json;

constexpr char kSpace[] = "\xE2\x96\x81";

GgufVocabulary vocabulary(const GgufBytes& g) {
  static const TempDir dir;
  g.save(dir / "x.gguf");
  return read_gguf_vocabulary(GgufFile(dir / "x.gguf"));
}
Json tokenizer(const GgufVocabulary& v) {
  return Json::parse(print_tokenizer_json(v, "x.gguf"));
}
Json tokenizer(const GgufBytes& g) {
  return tokenizer(vocabulary(g));
}
void refused(const std::function<void(GgufBytes&)>& change, const std::string& why) {
  GgufBytes g = tiny_gguf();
  change(g);
  CAPTURE(why);
  CHECK_THROWS_AS(tokenizer(g), UserError);
  CHECK_THROWS_WITH(tokenizer(g), ContainsSubstring("x.gguf") && ContainsSubstring(why));
}

GgufVocabulary sentencepiece(std::vector<std::string> pieces, std::vector<float> scores) {
  GgufVocabulary v;
  v.model = "llama";
  v.tokens = {"<unk>", "<s>", "</s>"};
  v.types = {GgufTokenType::Unknown, GgufTokenType::Control, GgufTokenType::Control};
  v.scores = {0, 0, 0};
  for (size_t i = 0; i < pieces.size(); ++i) {
    v.tokens.push_back(pieces[i]);
    v.types.push_back(GgufTokenType::Normal);
    v.scores.push_back(scores[i]);
  }
  v.unk = 0;
  v.bos = 1;
  v.eos = 2;
  return v;
}

TEST_CASE("a byte-level vocabulary becomes a tokenizer.json") {
  GgufBytes g = tiny_gguf();
  g.u32("tokenizer.ggml.bos_token_id", 0);
  g.i32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 1, 4});
  const Json json = tokenizer(g);
  CHECK(json["added_tokens"].size() == 2);
  CHECK(json["added_tokens"][0]["content"] == "<|end|>");
  CHECK(json["added_tokens"][0]["special"] == true);
  CHECK(json["added_tokens"][1]["id"] == 7);
  CHECK(json["added_tokens"][1]["special"] == false);
  CHECK(json["normalizer"]["type"] == "NFC");
  CHECK(json["pre_tokenizer"]["type"] == "Sequence");
  CHECK(json["pre_tokenizer"]["pretokenizers"][1]["use_regex"] == false);
  CHECK(json["post_processor"].is_null());
  CHECK(json["decoder"]["type"] == "ByteLevel");
  CHECK(json["model"]["vocab"].size() == 8);
  CHECK(json["model"]["vocab"]["ab"] == 3);
  CHECK(json["model"]["merges"][0] == Json{"a", "b"});
  CHECK(json["model"]["ignore_merges"] == false);
}

TEST_CASE("names of pre-tokenizers") {
  const auto with = [](const char* name) {
    GgufBytes g = tiny_gguf();
    g.text("tokenizer.ggml.pre", name);
    return tokenizer(g);
  };
  const Json llama3 = with("llama-bpe");
  CHECK(llama3["model"]["ignore_merges"] == true);
  CHECK(llama3["normalizer"].is_null());
  CHECK(llama3["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].get<std::string>().find(
            "\\p{N}{1,3}") != std::string::npos);
  const Json smollm = with("smollm");
  CHECK(smollm["pre_tokenizer"]["pretokenizers"][0]["type"] == "Digits");
  CHECK(smollm["pre_tokenizer"]["pretokenizers"][1]["use_regex"] == true);
  const Json gpt2 = with("gpt-2");
  CHECK(gpt2["pre_tokenizer"]["type"] == "ByteLevel");
  CHECK(with("smaug-bpe")["model"]["ignore_merges"] == false);
  CHECK(with("default")["pre_tokenizer"]["pretokenizers"].size() == 5);
  refused([](GgufBytes& g) { g.text("tokenizer.ggml.pre", "viking"); },
          "'viking' ('tokenizer.ggml.pre'); Pivot knows llama-bpe");

  const QuietLog quiet;
  GgufBytes old = tiny_gguf();
  old.erase("tokenizer.ggml.pre");
  CHECK(vocabulary(old).pre == "default");
}

TEST_CASE("a pre-tokenizer printed is recognised again") {
  for (const char* name :
       {"llama-bpe", "smaug-bpe", "qwen2", "stablelm2", "gpt-2", "smollm", "tekken", "default"}) {
    CAPTURE(name);
    const PreTokenizer* pre = find_pre_tokenizer(name);
    REQUIRE(pre != nullptr);
    const Json json = Json::parse("{" + print_pre_tokenizer(*pre) + "}");
    CHECK(&recognise_pre_tokenizer(json["normalizer"].dump(), json["pre_tokenizer"].dump(),
                                   pre->ignore_merges) == pre);
  }
  const std::string byte_level = R"({"type":"ByteLevel","add_prefix_space":true})";
  CHECK_THROWS_WITH(recognise_pre_tokenizer("null", byte_level, IgnoreMerges::No),
                    ContainsSubstring("has no name"));
  CHECK_THROWS_WITH(
      recognise_pre_tokenizer(R"({"type":"Lowercase"})",
                              R"({"type":"ByteLevel","add_prefix_space":false})", IgnoreMerges::No),
      ContainsSubstring("has no name"));
}

TEST_CASE("what is put around a text") {
  GgufBytes g = tiny_gguf();
  g.u32("tokenizer.ggml.bos_token_id", 7);
  g.flag("tokenizer.ggml.add_bos_token", true);
  g.flag("tokenizer.ggml.add_eos_token", true);
  const Json post = tokenizer(g)["post_processor"];
  CHECK(post["type"] == "TemplateProcessing");
  CHECK(post["single"].size() == 3);
  CHECK(post["single"][0]["SpecialToken"]["id"] == "!");
  CHECK(post["single"][2]["SpecialToken"]["id"] == "<|end|>");
  CHECK(post["special_tokens"]["!"]["ids"] == Json{7});
  // Llama 3 begins texts where the file does not say.
  GgufBytes silent = tiny_gguf();
  silent.u32("tokenizer.ggml.bos_token_id", 7);
  CHECK_FALSE(vocabulary(silent).add_bos);
  silent.text("tokenizer.ggml.pre", "llama-bpe");
  CHECK(vocabulary(silent).add_bos);
}

TEST_CASE("companions") {
  GgufBytes g = tiny_gguf();
  g.u32("tokenizer.ggml.bos_token_id", 7);
  g.u32("tokenizer.ggml.eot_token_id", 3);
  g.u32("tokenizer.ggml.padding_token_id", 6);
  g.text("tokenizer.chat_template", "{{ \"x\" }}\n");
  const GgufVocabulary v = vocabulary(g);
  const Json config = Json::parse(print_tokenizer_config(v, "x.gguf"));
  CHECK(config["bos_token"] == "!");
  CHECK(config["eos_token"] == "<|end|>");
  CHECK(config["pad_token"] == "1");
  CHECK_FALSE(config.contains("unk_token"));
  CHECK(config["add_bos_token"] == false);
  CHECK(config["chat_template"] == "{{ \"x\" }}\n");
  const Json generation = Json::parse(print_generation_config(v));
  CHECK(generation["bos_token_id"] == 7);
  CHECK(generation["eos_token_id"] == Json{0, 3});
  g.erase("tokenizer.ggml.eot_token_id");
  CHECK(Json::parse(print_generation_config(vocabulary(g)))["eos_token_id"] == 0);
}

TEST_CASE("merges of a SentencePiece vocabulary") {
  // By score, then the longer left side.
  const GgufVocabulary v = sentencepiece({"a", "b", "c", "ab", "bc", "abc", "\xC3\xA9",
                                          "\xC3\xA9"
                                          "a"},
                                         {-8, -8, -8, -2, -1, -3, -8, -4});
  CHECK(sentencepiece_merges(v, "x") ==
        std::vector<std::string>{"b c", "a b", "ab c", "a bc", "\xC3\xA9 a"});
  // Tokens that are not text are not merged: "</s>" is not "</" and "s>".
  GgufVocabulary odd = sentencepiece({"</", "s>"}, {-1, -1});
  CHECK(sentencepiece_merges(odd, "x").empty());
  odd.tokens.push_back(std::string(600, 'a'));
  odd.types.push_back(GgufTokenType::Normal);
  odd.scores.push_back(0);
  CHECK_THROWS_WITH(sentencepiece_merges(odd, "x"), ContainsSubstring("of 600 bytes"));
}

TEST_CASE("a SentencePiece vocabulary becomes a tokenizer.json") {
  GgufVocabulary v = sentencepiece({"a", "b", "ab", kSpace}, {-3, -4, -1, -2});
  v.add_space_prefix = true;
  v.add_bos = true;
  Json json = tokenizer(v);
  CHECK(json["added_tokens"].size() == 3);
  CHECK(json["normalizer"]["normalizers"][0]["type"] == "Prepend");
  CHECK(json["normalizer"]["normalizers"][1]["content"] == kSpace);
  CHECK(json["decoder"]["decoders"].size() == 4);
  CHECK(json["model"]["unk_token"] == "<unk>");
  CHECK(json["model"]["fuse_unk"] == true);
  CHECK(json["model"]["byte_fallback"] == false);
  CHECK(json["model"]["merges"] == Json::parse(R"([["a","b"]])"));
  CHECK(json["post_processor"]["single"][0]["SpecialToken"]["id"] == "<s>");

  v.add_space_prefix = false;
  for (int byte = 0; byte < 256; ++byte) {
    v.tokens.push_back(fmt::format("<0x{:02X}>", byte));
    v.types.push_back(GgufTokenType::Byte);
    v.scores.push_back(0);
  }
  json = tokenizer(v);
  CHECK(json["normalizer"]["type"] == "Replace");
  CHECK(json["decoder"]["decoders"].size() == 3);
  CHECK(json["model"]["byte_fallback"] == true);
  CHECK(json["added_tokens"].size() == 3);

  v.model = "t5";
  json = tokenizer(v);
  CHECK(json["model"]["type"] == "Unigram");
  CHECK(json["model"]["unk_id"] == 0);
  CHECK(json["model"]["byte_fallback"] == true);
  CHECK(json["model"]["vocab"][5] == Json{"ab", -1.0});
}

TEST_CASE("rows of the embedding without a token are left out") {
  GgufBytes g = tiny_gguf();
  std::vector<std::string> tokens = tiny_tokens();
  tokens[6] = "[PAD6]";
  g.texts("tokenizer.ggml.tokens", tokens);
  g.i32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 5, 1});
  CHECK_FALSE(tokenizer(g)["model"]["vocab"].contains("[PAD6]"));
}

TEST_CASE("damaged vocabularies are refused") {
  const std::string tokens = "tokenizer.ggml.tokens";
  const std::string types = "tokenizer.ggml.token_type";
  refused([](GgufBytes& g) { g.erase("tokenizer.ggml.model"); }, "'tokenizer.ggml.model' is miss");
  refused([](GgufBytes& g) { g.text("tokenizer.ggml.model", "bert"); }, "of kind 'bert'");
  refused([&](GgufBytes& g) { g.erase(tokens); }, tokens);
  refused([&](GgufBytes& g) { g.erase(types); }, types);
  refused([&](GgufBytes& g) { g.i32s(types, {3, 1}); }, "2 entries for 8 tokens");
  refused([&](GgufBytes& g) { g.i32s(types, {3, 1, 1, 1, 1, 1, 1, 7}); }, "token type 7");
  refused([](GgufBytes& g) { g.text("tokenizer.ggml.model", "llama"); }, "tokenizer.ggml.scores");
  refused(
      [](GgufBytes& g) {
        g.text("tokenizer.ggml.model", "llama");
        g.f32s("tokenizer.ggml.scores", {0, 0, 0, std::nanf(""), 0, 0, 0, 0});
      },
      "not finite");
  refused([](GgufBytes& g) { g.u32("tokenizer.ggml.bos_token_id", 8); },
          "is 8, there are 8 tokens");
  refused(
      [&](GgufBytes& g) {
        std::vector<std::string> twice = tiny_tokens();
        twice[6] = "a";
        g.texts(tokens, twice);
      },
      "token 'a' occurs twice, as 1 and 6");
  refused(
      [&](GgufBytes& g) {
        std::vector<std::string> bad = tiny_tokens();
        bad[6] = "\xFF";
        g.texts(tokens, bad);
      },
      "not UTF-8");
  const auto merge = [](const char* text) {
    return [text](GgufBytes& g) { g.texts("tokenizer.ggml.merges", {text}); };
  };
  refused(merge("ab"), "not two tokens");
  refused(merge("a b c"), "not two tokens");
  refused(merge("a z"), "does not have");
  refused(merge("b a"), "does not have");
  GgufBytes g = tiny_gguf();
  g.text("tokenizer.chat_template", "\xFF");
  CHECK_THROWS_WITH(print_tokenizer_config(vocabulary(g), "x.gguf"),
                    ContainsSubstring("template is not UTF-8"));
}

}  // namespace
}  // namespace pivot::test
