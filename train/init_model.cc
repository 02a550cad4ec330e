#include "train/init_model.h"

#include "src/base/check.h"

namespace pivot {

void adopt_model(TrainOptions& options, const CheckpointInfo& source) {
  ModelConfig model = source.model;
  const std::vector<OptionField> theirs = option_fields(model);
  const std::vector<OptionField> ours = option_fields(options.model);
  std::string differences;
  for (size_t i = 0; i < ours.size(); ++i) {
    const std::string key = "model." + ours[i].key;
    const bool given = options.given.count(key) > 0;
    if (ours[i].key == "context" && given) continue;
    const std::string want = theirs[i].print(), is = ours[i].print();
    if (given && is != want) differences += fmt::format("\n  {} is {}, there {}", key, is, want);
    ours[i].parse(want);
  }
  if (differences.empty()) return;
  throw_user(
      "init = {} is another model than model.* says:{}\nLeave these keys out: the model "
      "comes from init",
      options.init, differences);
}

std::vector<std::string> advice(const TrainOptions& o, const CheckpointInfo& source) {
  std::vector<std::string> lines;
  if (o.data.seq_len > source.model.context) {
    lines.push_back(fmt::format(
        "data.seq_len {} is longer than the {} tokens {} was made for, and its rotary frequencies "
        "stay as they are: expect high losses beyond them until that is learnt",
        o.data.seq_len, source.model.context, o.init));
  }
  return lines;
}

void require_tokenizer_of(const CheckpointInfo& source, const std::string& tokenizer_hash,
                          const std::string& where) {
  if (source.tokenizer_hash.empty() || source.tokenizer_hash == tokenizer_hash) return;
  throw_user(
      "{} has tokenizer {}, the data was made with {}: build the data with the model's tokenizer",
      where, source.tokenizer_hash, tokenizer_hash);
}

}  // namespace pivot
