#include "checkpoints/train_state.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

using Json = nlohmann::json;

// JSON has no infinity, and a best loss starts at one.
nlohmann::ordered_json print_number(double value) {
  if (std::isfinite(value)) return value;
  if (std::isnan(value)) return "nan";
  return value > 0 ? "inf" : "-inf";
}

double parse_number(const Json& value) {
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  return value.get<double>();
}

int64_t parse_counter(const Json& state, const char* key, const std::string& where) {
  const Json& value = state.at(key);
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    throw_user("{}: {} must be a whole number that is not negative", where, key);
  }
  return value.get<int64_t>();
}

}  // namespace

std::string print_train_state(const TrainState& state) {
  nlohmann::ordered_json json;
  json["step"] = state.step;
  json["consumed_sequences"] = state.consumed_sequences;
  json["consumed_tokens"] = state.consumed_tokens;
  json["elapsed_seconds"] = print_number(state.elapsed_seconds);
  json["values"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : state.values) json["values"][name] = print_number(value);
  return json.dump(2) + "\n";
}

TrainState parse_train_state(const std::string& text, const std::string& where) {
  try {
    const Json json = Json::parse(text);
    TrainState state;
    state.step = parse_counter(json, "step", where);
    state.consumed_sequences = parse_counter(json, "consumed_sequences", where);
    state.consumed_tokens = parse_counter(json, "consumed_tokens", where);
    state.elapsed_seconds = parse_number(json.at("elapsed_seconds"));
    for (const auto& [name, value] : json.at("values").items()) {
      state.values[name] = parse_number(value);
    }
    return state;
  } catch (const Json::exception& e) {
    throw_user("{} is damaged ({}): use an older checkpoint", where, e.what());
  }
}

}  // namespace pivot
