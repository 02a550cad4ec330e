#include "data/hf/json.h"

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot::hf {

using nlohmann::json;

Fields::Fields(const json& value, std::string where) : value_(&value), where_(std::move(where)) {
  if (!value.is_object()) throw_user("{}: an object is needed", where_);
}

void Fields::fail(const char* key, const char* needed) const {
  throw_user("{}: '{}' must be {}", where_, key, needed);
}

const json& Fields::get(const char* key) const {
  static const json none;
  const auto it = value_->find(key);
  return it == value_->end() ? none : *it;
}

bool Fields::has(const char* key) const {
  return !get(key).is_null();
}

bool Fields::mentions(const char* key) const {
  return value_->contains(key);
}

bool Fields::flag(const char* key, bool absent) const {
  const json& v = get(key);
  if (v.is_null()) return absent;
  if (!v.is_boolean()) fail(key, "true or false");
  return v.get<bool>();
}

std::string Fields::text(const char* key) const {
  const json& v = get(key);
  if (!v.is_string()) fail(key, "a text");
  return v.get<std::string>();
}

std::string Fields::text(const char* key, const std::string& absent) const {
  return has(key) ? text(key) : absent;
}

int64_t Fields::number(const char* key, int64_t least, int64_t most) const {
  const json& v = get(key);
  const bool fits =
      v.is_number_integer() &&
      (!v.is_number_unsigned() || v.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  if (!fits || v.get<int64_t>() < least || v.get<int64_t>() > most) {
    throw_user("{}: '{}' must be a whole number from {} to {}", where_, key, least, most);
  }
  return v.get<int64_t>();
}

Fields Fields::object(const char* key) const {
  return Fields(get(key), fmt::format("{}: {}", where_, key));
}

std::vector<Fields> Fields::objects(const char* key) const {
  const json& list = get(key);
  if (!list.is_array()) fail(key, "a list");
  std::vector<Fields> all;
  for (const json& item : list) {
    all.emplace_back(item, fmt::format("{}: {} {}", where_, key, all.size()));
  }
  return all;
}

}  // namespace pivot::hf
