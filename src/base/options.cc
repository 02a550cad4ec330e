#include "src/base/options.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <numeric>

#include <fmt/ranges.h>
#include <toml++/toml.h>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr int kMaxIncludeDepth = 8;

template <class T>
void parse_integer(std::string_view text, T& value) {
  const int64_t count = parse_count(text);
  if constexpr (std::is_unsigned_v<T>) {
    if (count < 0) throw_user("'{}' must not be negative", text);
  } else {
    if (count < std::numeric_limits<T>::min() || count > std::numeric_limits<T>::max()) {
      throw_user("'{}' is out of range", text);
    }
  }
  value = static_cast<T>(count);
}

double parse_number(std::string_view text) {
  const bool percent = !text.empty() && text.back() == '%';
  const std::string_view digits = percent ? text.substr(0, text.size() - 1) : text;
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    throw_user("'{}' is not a number", text);
  }
  return percent ? value / 100 : value;
}

// A TOML basic string: control characters are escaped, everything else is kept.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// One TOML value as the text that parse_option() takes.
std::string value_text(const toml::node& node, const std::string& where) {
  if (const auto* v = node.as_string()) return v->get();
  if (const auto* v = node.as_integer()) return std::to_string(v->get());
  if (const auto* v = node.as_floating_point()) return fmt::format("{}", v->get());
  if (const auto* v = node.as_boolean()) return v->get() ? "true" : "false";
  if (const auto* array = node.as_array()) {
    std::string joined;
    for (const toml::node& element : *array) {
      if (!joined.empty()) joined += ",";
      joined += value_text(element, where);
    }
    return joined;
  }
  throw_user("{}: line {}: a date or time is not expected here", where, node.source().begin.line);
}

void apply_table(std::vector<OptionField>& fields, const toml::table& table,
                 const std::string& prefix, const std::string& where) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (const auto* inner = node.as_table()) {
      apply_table(fields, *inner, key + ".", where);
    } else {
      set_option(fields, key, value_text(node, where),
                 fmt::format("{}: line {}", where, node.source().begin.line));
    }
  }
}

toml::table parse_toml(std::string_view text, const std::string& where) {
  try {
    return toml::parse(text, where);
  } catch (const toml::parse_error& e) {
    throw_user("{}: line {}: {}", where, e.source().begin.line, e.description());
  }
}

void load_file(std::vector<OptionField>& fields, const std::string& path, int depth) {
  if (depth > kMaxIncludeDepth) throw_user("{}: includes nest too deeply", path);
  toml::table table = parse_toml(read_file(path), path);
  if (const auto include = table["include"].value<std::string>()) {
    const auto parent = std::filesystem::path(path).parent_path();
    load_file(fields, (parent / *include).string(), depth + 1);
    table.erase("include");
  }
  apply_table(fields, table, "", path);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

}  // namespace

void parse_option(std::string_view text, bool& value) {
  if (text == "true" || text == "1" || text == "yes" || text == "on") {
    value = true;
  } else if (text == "false" || text == "0" || text == "no" || text == "off") {
    value = false;
  } else {
    throw_user("'{}' is not true or false", text);
  }
}
void parse_option(std::string_view text, int& value) {
  parse_integer(text, value);
}
void parse_option(std::string_view text, int64_t& value) {
  parse_integer(text, value);
}
void parse_option(std::string_view text, uint64_t& value) {
  parse_integer(text, value);
}
void parse_option(std::string_view text, double& value) {
  value = parse_number(text);
}
void parse_option(std::string_view text, float& value) {
  value = static_cast<float>(parse_number(text));
}
void parse_option(std::string_view text, std::string& value) {
  value = text;
}
void parse_option(std::string_view text, Rational& value) {
  value = parse_rational(text);
}
void parse_option(std::string_view text, Duration& value) {
  value.seconds = parse_duration(text);
}
void parse_option(std::string_view text, std::vector<std::string>& value) {
  value.clear();
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) value.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
}

std::string print_option(bool value) {
  return value ? "true" : "false";
}
std::string print_option(int value) {
  return std::to_string(value);
}
std::string print_option(int64_t value) {
  return std::to_string(value);
}
std::string print_option(uint64_t value) {
  return std::to_string(value);
}
std::string print_option(double value) {
  return fmt::format("{}", value);
}
std::string print_option(float value) {
  return fmt::format("{}", value);
}
std::string print_option(const std::string& value) {
  return value;
}
std::string print_option(Rational value) {
  return to_string(value);
}
std::string print_option(Duration value) {
  return fmt::format("{}s", value.seconds);
}
std::string print_option(const std::vector<std::string>& value) {
  return fmt::format("{}", fmt::join(value, ","));
}

void set_option(std::vector<OptionField>& fields, std::string_view key, std::string_view value,
                std::string_view where) {
  const auto field = std::find_if(fields.begin(), fields.end(),
                                  [&](const OptionField& f) { return f.key == key; });
  if (field == fields.end()) {
    std::vector<std::string> names;
    for (const OptionField& f : fields) names.push_back(f.key);
    throw_user("{}: unknown option '{}'; did you mean '{}'?", where, key, nearest_name(key, names));
  }
  try {
    field->parse(value);
  } catch (const UserError& e) {
    throw_user("{}: {}: {}", where, key, e.what());
  }
}

void set_override(std::vector<OptionField>& fields, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) {
    throw_user("'{}' is not an override: write key=value, for example optim.lr=3e-4", assignment);
  }
  set_option(fields, assignment.substr(0, equals), assignment.substr(equals + 1), "command line");
}

void load_toml_file(std::vector<OptionField>& fields, const std::string& path) {
  load_file(fields, path, 0);
}

void load_toml_text(std::vector<OptionField>& fields, std::string_view text,
                    const std::string& where) {
  apply_table(fields, parse_toml(text, where), "", where);
}

std::string to_toml(const std::vector<OptionField>& fields, TomlComments comments) {
  const auto section_of = [](const OptionField& f) {
    const size_t dot = f.key.rfind('.');
    return dot == std::string::npos ? std::string() : f.key.substr(0, dot);
  };
  // A table may be opened only once, and keys without a table come first.
  std::vector<std::string> sections{""};
  for (const OptionField& f : fields) {
    const std::string section = section_of(f);
    if (std::find(sections.begin(), sections.end(), section) == sections.end()) {
      sections.push_back(section);
    }
  }
  std::string out;
  for (const std::string& section : sections) {
    if (!section.empty()) out += fmt::format("\n[{}]\n", section);
    for (const OptionField& f : fields) {
      if (section_of(f) != section) continue;
      const std::string name = section.empty() ? f.key : f.key.substr(section.size() + 1);
      out += fmt::format("{} = {}", name, f.quoted ? quoted(f.print()) : f.print());
      out += comments == TomlComments::Docs ? fmt::format("  # {} ({})\n", f.doc, f.type) : "\n";
    }
  }
  return out;
}

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::numeric_limits<size_t>::max();
  for (const std::string& candidate : candidates) {
    // A typo in the last part should find its key even when the section was left out.
    const size_t dot = candidate.rfind('.');
    size_t distance = edit_distance(word, candidate);
    if (dot != std::string::npos) {
      distance = std::min(distance, edit_distance(word, candidate.substr(dot + 1)) + 1);
    }
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace pivot
