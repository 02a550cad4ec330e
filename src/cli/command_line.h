#pragma once
/// Command-line parsing for the commands: flags come from an options struct's visit().

#include <memory>
#include <string>
#include <vector>

#include "src/base/options.h"

namespace pivot {

class CommandLine {
 public:
  enum Need { Optional, Required };

  CommandLine(const std::string& command, const std::string& summary);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  /// Every visited field becomes --key; underscores become dashes. `options` must outlive parse().
  template <class T>
  void options(T& options) {
    add_fields(option_fields(options));
  }
  /// Positional arguments, in this order; a vector takes all that remain.
  void positional(const std::string& name, std::string& value, const std::string& doc, Need need);
  void positional(const std::string& name, std::vector<std::string>& values, const std::string& doc,
                  Need need);
  /// Text below the options in --help.
  void footer(const std::string& text);

  /// False after printing --help. Throws UserError on unknown flags (naming the nearest), missing
  /// or malformed values.
  bool parse(const std::vector<std::string>& args);

 private:
  void add_fields(std::vector<OptionField> fields);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pivot
