#include "src/cli/command_line.h"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

std::string flag_of(const std::string& key) {
  std::string flag = "--" + key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

}  // namespace

struct CommandLine::State {
  CLI::App app;
  std::string command;
  std::vector<OptionField> fields;  // CLI11's callbacks refer to these by index

  State(const std::string& name, const std::string& summary)
      : app(summary, "pivot " + name), command(name) {}

  std::vector<std::string> flags() const {
    std::vector<std::string> names;
    for (const OptionField& f : fields) names.push_back(flag_of(f.key));
    return names;
  }

  // Flags that no option took are typing errors: name the nearest real one.
  void refuse_unknown(const std::vector<std::string>& args) const {
    for (const std::string& arg : args) {
      if (arg == "--") return;
      if (arg.size() < 3 || arg.compare(0, 2, "--") != 0) continue;
      const std::string flag = arg.substr(0, arg.find('='));
      const std::vector<std::string> known = flags();
      if (flag == "--help" || std::count(known.begin(), known.end(), flag) > 0) continue;
      if (known.empty()) throw_user("pivot {}: unknown flag {}", command, flag);
      throw_user("pivot {}: unknown flag {}; did you mean {}? ('pivot {} --help' lists all)",
                 command, flag, nearest_name(flag, known), command);
    }
  }
};

CommandLine::CommandLine(const std::string& command, const std::string& summary)
    : state_(std::make_unique<State>(command, summary)) {
  state_->app.allow_extras(false);
}

CommandLine::~CommandLine() = default;

void CommandLine::add_fields(std::vector<OptionField> fields) {
  for (OptionField& field : fields) {
    const bool is_switch = field.type == "true|false";
    const std::string shown = field.print();
    const std::string doc =
        shown.empty() || is_switch ? field.doc : fmt::format("{} [{}]", field.doc, shown);
    const OptionField& kept = state_->fields.emplace_back(std::move(field));
    const std::string flag = flag_of(kept.key);
    const auto parse = [reader = kept.parse, flag](const std::string& text) {
      try {
        reader(text);
      } catch (const UserError& e) {
        throw_user("{}: {}", flag, e.what());
      }
    };
    CLI::Option* option = state_->app.add_option_function<std::vector<std::string>>(
        flag,
        [parse, is_switch](const std::vector<std::string>& values) {
          // A list given several times is one list; other options take their last value.
          std::string joined;
          for (const std::string& v : values) joined += (joined.empty() ? "" : ",") + v;
          parse(joined.empty() && is_switch ? "true" : joined);
        },
        doc);
    option->type_name(kept.type);
    if (is_switch) {
      option->expected(0, 1);
    } else if (kept.list) {
      option->expected(1)->allow_extra_args(false)->multi_option_policy(
          CLI::MultiOptionPolicy::TakeAll);
    } else {
      option->expected(1)->allow_extra_args(false)->multi_option_policy(
          CLI::MultiOptionPolicy::TakeLast);
    }
  }
}

void CommandLine::positional(const std::string& name, std::string& value, const std::string& doc,
                             Need need) {
  CLI::Option* option = state_->app.add_option(name, value, doc)->type_name("");
  if (need == Required) option->required();
}

void CommandLine::positional(const std::string& name, std::vector<std::string>& values,
                             const std::string& doc, Need need) {
  CLI::Option* option = state_->app.add_option(name, values, doc)->type_name("");
  if (need == Required) option->required();
}

void CommandLine::footer(const std::string& text) {
  state_->app.footer(text);
}

bool CommandLine::parse(const std::vector<std::string>& args) {
  std::vector<std::string> reversed(args.rbegin(), args.rend());
  try {
    state_->app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    std::fputs(state_->app.help().c_str(), stdout);
    return false;
  } catch (const CLI::ParseError& e) {
    state_->refuse_unknown(args);
    throw_user("pivot {}: {} ('pivot {} --help' shows how)", state_->command, e.what(),
               state_->command);
  }
  return true;
}

}  // namespace pivot
