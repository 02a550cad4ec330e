// Inputs people write: config files, attention specs, documents; and the state of a checkpoint.
#include <zlib.h>

#include "checkpoints/train_state.h"
#include "data/documents.h"
#include "data/utf8.h"
#include "kernels/attention/policy.h"
#include "src/base/check.h"
#include "src/base/options.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/targets.h"
#include "train/options.h"

namespace pivot::fuzz {
namespace {

void read_documents(const std::string& path, const std::string& invalid_utf8, bool skip_bad) {
  DocumentOptions options;
  options.input = {path};
  options.invalid_utf8 = invalid_utf8;
  options.skip_bad = skip_bad;
  options.max_document = 4096;  // small, so that cutting is met
  options.split_on = "blank";
  DocumentReader reader(options);
  Document document;
  int64_t count = 0;
  while (reader.next(document)) {
    ++count;
    PIVOT_CHECK(!document.text.empty(), "an empty document");
    PIVOT_CHECK(find_invalid_utf8(document.text) == std::string::npos,
                "invalid UTF-8 came through");
    PIVOT_CHECK(static_cast<int64_t>(document.text.size()) <= options.max_document + 4,
                "a document of {} bytes", document.text.size());
  }
  PIVOT_CHECK(count == reader.counts().documents, "{} documents, {} counted", count,
              reader.counts().documents);
}

// What was printed by Pivot itself may not be refused.
template <class F>
auto read_own(const std::string& printed, const F& read) {
  try {
    return read();
  } catch (const UserError& e) {
    PIVOT_CHECK(false, "refuses its own output: {}\n{}", e.what(), printed);
  }
}

// Each way of handling bad input on its own; a refusal of one does not skip the next.
void read_every_way(const std::string& path) {
  for (const bool skip_bad : {false, true}) {
    for (const char* invalid : {"refuse", "replace"}) {
      try {
        read_documents(path, invalid, skip_bad);
      } catch (const UserError&) {
        continue;
      }
    }
  }
}

}  // namespace

void read_config(std::string_view bytes) {
  TrainOptions options;
  std::vector<OptionField> fields = option_fields(options);
  load_toml_text(fields, bytes, "input");
  TrainOptions copy;
  std::vector<OptionField> copied = option_fields(copy);
  const std::string printed = to_toml(fields, TomlComments::Docs);
  read_own(printed, [&] { load_toml_text(copied, printed, "printed"); });
  PIVOT_CHECK(to_toml(copied, TomlComments::Docs) == printed,
              "printed options read back otherwise");
  validate(options.model);
}

std::vector<std::string> config_seeds() {
  TrainOptions options;
  options.model.vocab = 256;  // 0, the default, waits for a tokenizer
  return {to_toml(option_fields(options), TomlComments::None),
          "steps = \"8K\"\nseed = 3\n[optim]\nlr = 1e-3\n[data]\ntrain = [\"a@0.5\", \"b\"]\n",
          "time = \"2h\"\nattention.spec = 'topk:1%'\n"};
}

void read_attention(std::string_view bytes) {
  constexpr int kLayers = 5;
  const std::vector<AttentionPolicy> layers = parse_layer_policies(bytes, kLayers);
  PIVOT_CHECK(layers.size() == kLayers, "{} policies", layers.size());
  const std::string printed = to_string(layers);
  PIVOT_CHECK(read_own(printed, [&] { return parse_layer_policies(printed, kLayers); }) == layers,
              "'{}' reads back otherwise", printed);
  for (const AttentionPolicy& layer : layers) {
    const std::string one = to_string(layer);
    PIVOT_CHECK(read_own(one, [&] { return parse_policy(one); }) == layer,
                "'{}' reads back otherwise", one);
  }
}

std::vector<std::string> attention_seeds() {
  return {"dense",
          "topk:1%",
          "topk:k=64",
          "topk:2%,min=8,max=4096,sink=4,recent=64,group=max",
          "*:topk:1%;0-1:dense;-1:dense",
          "topk:1/128,group=sum"};
}

void read_state(std::string_view bytes) {
  const TrainState state = parse_train_state(std::string(bytes), "input");
  const std::string printed = print_train_state(state);
  const TrainState again = read_own(printed, [&] { return parse_train_state(printed, "printed"); });
  PIVOT_CHECK(print_train_state(again) == printed, "the state reads back otherwise");
}

std::vector<std::string> state_seeds() {
  TrainState state;
  state.step = 100;
  state.elapsed_seconds = 1.5;
  state.values = {{"best", 0.25}, {"ema", -1e-300}};
  return {print_train_state(state),
          R"({"step":1,"consumed_sequences":2,"consumed_tokens":3,"elapsed_seconds":"inf",)"
          R"("values":{"a":"nan"}})"};
}

void read_jsonl(std::string_view bytes) {
  read_every_way(put("input.jsonl", bytes));
}

std::vector<std::string> jsonl_seeds() {
  return {"{\"text\": \"one\"}\n{\"id\": 7, \"text\": \"two\\n\\u00e9\\ud83d\\ude00\"}\n",
          "{\"text\": \"\"}\r\n\r\n{\"text\": \"no line end\"}",
          "{\"text\": [1, {\"a\": null}]}\n"};
}

void read_text(std::string_view bytes) {
  read_every_way(put("input.txt", bytes));
}

std::vector<std::string> text_seeds() {
  return {"one\n\ntwo\nlines\n\n\nthree", "caf\xc3\xa9 \xf0\x9f\x98\x80\r\n\r\nx\n",
          "\xef\xbb\xbf with a mark"};
}

void read_gzip(std::string_view bytes) {
  read_every_way(put("input.txt.gz", bytes));
}

std::vector<std::string> gzip_seeds() {
  std::vector<std::string> seeds;
  for (const std::string& text : text_seeds()) {
    std::string packed(text.size() + 128, '\0');
    z_stream stream = {};
    constexpr int kGzipWindow = 15 + 16;
    PIVOT_CHECK(deflateInit2(&stream, 9, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) == Z_OK,
                "zlib");
    std::string input = text;
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    seeds.push_back(packed);
  }
  seeds.push_back(seeds[0] + seeds[1]);  // two members
  return seeds;
}

}  // namespace pivot::fuzz
