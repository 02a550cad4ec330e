#pragma once
/// The command line of `pivot train` and `pivot plan`: [CONFIG] [key=value ...] [--key value ...].

#include <string>
#include <vector>

#include "src/cli/command_line.h"
#include "train/options.h"

namespace pivot {

/// A config file's name (at most one, first) and key=value words into `options`.
void load_train_words(const std::vector<std::string>& words, TrainOptions& options);

/// `options` comes with the defaults of the command. Reads the config file, then key=value words
/// and flags over it. `extra` declares what the command has besides the options of a run. False
/// after --help. Throws UserError on anything it does not know, naming the nearest key.
template <class Extra>
bool parse_train_command(const char* command, const char* summary, const char* footer,
                         const std::vector<std::string>& args, TrainOptions& options,
                         Extra& extra) {
  // The file's name is among the arguments, and the arguments hold over the file: two passes.
  std::vector<std::string> words;
  TrainOptions defaults = options;
  Extra unused;
  const auto pass = [&](TrainOptions& into, Extra& more) {
    words.clear();
    CommandLine line(command, summary);
    line.positional("CONFIG", words, "TOML file, then key=value words", CommandLine::Optional);
    line.options(into);
    line.options(more);
    line.footer(footer);
    return line.parse(args);
  };
  if (!pass(defaults, unused)) return false;
  load_train_words(words, options);
  pass(options, extra);
  return true;
}

}  // namespace pivot
