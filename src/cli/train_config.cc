#include "src/cli/train_config.h"

#include "src/base/check.h"

namespace pivot {

void load_train_words(const std::vector<std::string>& words, TrainOptions& options) {
  std::vector<OptionField> fields = option_fields(options);
  std::string config;
  for (const std::string& word : words) {
    if (word.find('=') != std::string::npos) continue;
    if (!config.empty()) {
      throw_user("two config files, {} and {}: give one (it may include the other)", config, word);
    }
    config = word;
    load_toml_file(fields, config);
  }
  for (const std::string& word : words) {
    if (word.find('=') != std::string::npos) set_override(fields, word);
  }
}

}  // namespace pivot
