#include "checkpoints/hf/json.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

constexpr int kDeepest = 32;  // configurations have 3 levels, chat templates in lists 4
// Far above any model; products of two stay inside 64 bits.
constexpr int64_t kLargest = int64_t{1} << 24;

}  // namespace

Json parse_json_object(std::string_view text, size_t longest, const std::string& where) {
  if (text.size() > longest) {
    throw_user("{}: {} bytes, above the limit of {}", where, text.size(), longest);
  }
  const auto shallow = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kDeepest) throw_user("{}: nested more than {} deep", where, kDeepest);
    return true;
  };
  try {
    Json json = Json::parse(text.begin(), text.end(), shallow);
    if (!json.is_object()) throw_user("{}: not a JSON object", where);
    return json;
  } catch (const Json::exception& e) {
    throw_user("{} is not valid JSON ({}): copy it again", where, e.what());
  }
}

const Json* JsonReader::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool JsonReader::has(const char* key) const {
  return find(key) != nullptr;
}

std::string JsonReader::shown(const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

void JsonReader::wrong(const char* key, const char* what) const {
  throw_user("{}: {} is {}, must be {}", where_, key, shown(*find(key)), what);
}

std::optional<int64_t> JsonReader::count(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_number_unsigned() || value->get<uint64_t>() < 1 ||
      value->get<uint64_t>() > static_cast<uint64_t>(kLargest)) {
    wrong(key, "a whole number from 1 to 2^24");
  }
  return value->get<int64_t>();
}

int64_t JsonReader::required_count(const char* key) const {
  const auto value = count(key);
  if (!value) throw_user("{}: {} is missing", where_, key);
  return *value;
}

std::optional<double> JsonReader::number(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_number() || !std::isfinite(value->get<double>())) wrong(key, "a finite number");
  return value->get<double>();
}

std::optional<bool> JsonReader::flag(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_boolean()) wrong(key, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonReader::text(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_string()) wrong(key, "text");
  return value->get<std::string>();
}

}  // namespace pivot
