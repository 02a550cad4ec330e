#include "data/synth.h"

#include "data/synth_draw.h"
#include "src/base/check.h"
#include "src/base/options.h"

namespace pivot {
namespace {

using Maker = std::unique_ptr<SynthTask> (*)(const SynthOptions&, const Tokenizer&);

struct Entry {
  const char* name;
  Maker make;
};

constexpr Entry kTasks[] = {
    {"mqar", &synth::make_mqar},           {"recall", &synth::make_recall},
    {"induction", &synth::make_induction}, {"majority", &synth::make_majority},
    {"passkey", &synth::make_passkey},     {"json", &synth::make_json},
};

void check_common(const SynthOptions& o) {
  if (o.length < 0 || o.pairs < 0 || o.queries < 0 || o.gap < 0) {
    throw_user("length, pairs, queries and gap must not be negative");
  }
  if (o.pairs_min < 0 || o.pairs_min > o.pairs) {
    throw_user("--pairs-min {} must lie in [0, --pairs {}]", o.pairs_min, o.pairs);
  }
  if (!(o.noise >= 0 && o.noise < 1)) throw_user("--noise {}: must be in [0, 1)", o.noise);
  if (o.noise_symbols < 1) throw_user("--noise-symbols {}: at least 1", o.noise_symbols);
  if (o.chars < 1 || o.chars > 16) throw_user("--chars {}: must be 1 to 16", o.chars);
  if (o.learn != "answers" && o.learn != "all") {
    throw_user("--learn {}: must be answers or all", o.learn);
  }
}

}  // namespace

std::vector<int32_t> task_symbols(const Tokenizer& tokenizer) {
  std::vector<int32_t> symbols = reserved_symbols(tokenizer);
  if (!symbols.empty()) return symbols;
  for (int32_t id = 0; id < tokenizer.vocab(); ++id) {
    const bool special = id == tokenizer.bos() || id == tokenizer.eos() || id == tokenizer.unk();
    if (!special && tokenizer.token_bytes(id) > 0) symbols.push_back(id);
  }
  return symbols;
}

std::unique_ptr<SynthTask> make_synth_task(const SynthOptions& options,
                                           const Tokenizer& tokenizer) {
  check_common(options);
  std::vector<std::string> names;
  for (const Entry& entry : kTasks) {
    if (options.task == entry.name) return entry.make(options, tokenizer);
    names.emplace_back(entry.name);
  }
  throw_user("unknown task '{}'; did you mean '{}'?", options.task,
             nearest_name(options.task, names));
}

namespace synth {

int32_t marker_symbol(const Tokenizer& tokenizer) {
  return task_symbols(tokenizer).back();
}

Alphabet split_alphabet(const SynthOptions& options, const Tokenizer& tokenizer) {
  const std::vector<int32_t> symbols = task_symbols(tokenizer);
  const int64_t usable = static_cast<int64_t>(symbols.size()) - 1;  // the last is the marker
  const int64_t rest = usable - options.noise_symbols;
  const int64_t keys = options.vocab_keys > 0 ? options.vocab_keys : rest / 2;
  const int64_t values = options.vocab_values > 0 ? options.vocab_values : rest - keys;
  if (keys < 1 || values < 1 || keys + values + options.noise_symbols > usable) {
    throw_user(
        "task {}: {} keys, {} values, {} noise symbols and a marker need {} symbols, the tokenizer "
        "has {}: lower --vocab-keys or --vocab-values, or train a tokenizer with --reserved",
        options.task, keys, values, options.noise_symbols,
        keys + values + options.noise_symbols + 1, symbols.size());
  }
  const auto part = [&](int64_t begin, int64_t count) {
    return std::vector<int32_t>(symbols.begin() + begin, symbols.begin() + begin + count);
  };
  return {part(0, keys), part(keys, values), part(keys + values, options.noise_symbols)};
}

}  // namespace synth
}  // namespace pivot
