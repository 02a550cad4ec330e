// pivot info: what a path is; or all options of a training run.
#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/options.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/cli/info_describe.h"
#include "train/options.h"

namespace pivot {
namespace {

using Json = nlohmann::ordered_json;

struct InfoOptions {
  bool options = false;
  std::string json;
  template <class V>
  void visit(V&& v) {
    v("options", options, "print every option of `pivot train` with its default, as a config file");
    v("json", json, "also write the facts to this file");
  }
};

std::string shown(const std::string& key, const Json& value) {
  if (key == "bytes" && value.is_number()) return format_bytes(value.get<double>());
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) {
    const auto number = value.get<int64_t>();
    constexpr int64_t kLong = 100000;
    if (number < kLong) return std::to_string(number);
    return fmt::format("{} ({})", number, format_si(static_cast<double>(number)));
  }
  return value.dump();
}

// Objects as rows of aligned columns.
void print_table(const Json& rows, const std::string& indent) {
  std::vector<size_t> width;
  std::vector<std::vector<std::string>> cells;
  for (const Json& row : rows) {
    cells.emplace_back();
    for (const auto& [key, value] : row.items()) {
      cells.back().push_back(shown(key, value));
      const size_t column = cells.back().size() - 1;
      if (width.size() <= column) width.push_back(0);
      width[column] = std::max(width[column], cells.back().back().size());
    }
  }
  for (const std::vector<std::string>& row : cells) {
    fmt::print("{}", indent);
    for (size_t i = 0; i < row.size(); ++i) fmt::print("{:<{}}  ", row[i], width[i]);
    fmt::print("\n");
  }
}

void print_lines(const std::string& text, const std::string& indent) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    fmt::print("{}{}\n", indent, text.substr(begin, end - begin));
    begin = end + 1;
  }
}

void print(const Json& facts, const std::string& indent) {
  size_t width = 0;
  for (const auto& [key, value] : facts.items()) {
    if (!value.is_structured()) width = std::max(width, key.size());
  }
  for (const auto& [key, value] : facts.items()) {
    const bool table = value.is_array() && !value.empty() && value[0].is_object();
    const std::string text = value.is_string() ? value.get<std::string>() : "";
    if (value.is_object() || table || text.find('\n') != std::string::npos) {
      fmt::print("{}{}:\n", indent, key);
      if (value.is_object()) print(value, indent + "  ");
      if (table) print_table(value, indent + "  ");
      print_lines(text, indent + "  ");
    } else {
      fmt::print("{}{:<{}}  {}\n", indent, key, width, shown(key, value));
    }
  }
}

}  // namespace

int run_info(const std::vector<std::string>& args) {
  InfoOptions options;
  std::string path;
  CommandLine command("info", "What a checkpoint, run, data set, shard or safetensors file is");
  command.options(options);
  command.positional("PATH", path, "file or directory", CommandLine::Optional);
  if (!command.parse(args)) return 0;
  if (options.options) {
    TrainOptions train;
    fmt::print("{}", to_toml(option_fields(train), TomlComments::Docs));
    return 0;
  }
  if (path.empty()) throw_user("pivot info needs a PATH, or --options");
  const Json facts = describe_path(path);
  print(facts, "");
  if (!options.json.empty()) write_file_atomically(options.json, facts.dump(2) + "\n");
  return 0;
}

}  // namespace pivot
