#include "kernels/attention/policy.h"

#include <fmt/format.h>

#include "kernels/attention/attention.h"
#include "src/base/check.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr std::string_view kGrammar =
    "dense, topk:1% or topk:k=64, with ,min=16,max=4096,sink=4,recent=64,group=head|max|sum";

[[noreturn]] void bad_spec(std::string_view spec, std::string_view part, std::string_view why) {
  throw_user("attention spec '{}': '{}' {}; known forms: {}", spec, part, why, kGrammar);
}

std::string_view take_until(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

int64_t positive_count(std::string_view spec, std::string_view part, std::string_view value,
                       int64_t least) {
  int64_t count = 0;
  try {
    count = parse_count(value);
  } catch (const UserError&) {
    bad_spec(spec, part, "needs a whole number");
  }
  if (count < least || count > AttentionPolicy::kNoMax) {
    bad_spec(spec, part, fmt::format("must be at least {}", least));
  }
  return count;
}

void apply_setting(AttentionPolicy& policy, std::string_view spec, std::string_view part) {
  std::string_view value = part;
  const std::string_view name = take_until(value, '=');
  if (name == "k") {
    policy.k_fixed = positive_count(spec, part, value, 1);
  } else if (name == "min") {
    policy.k_min = positive_count(spec, part, value, 1);
  } else if (name == "max") {
    policy.k_max = positive_count(spec, part, value, 1);
  } else if (name == "sink") {
    policy.sink = static_cast<int>(positive_count(spec, part, value, 0));
  } else if (name == "recent") {
    policy.recent = static_cast<int>(positive_count(spec, part, value, 0));
  } else if (name == "group") {
    if (value == "head") {
      policy.group = SelectionGroup::Head;
    } else if (value == "max") {
      policy.group = SelectionGroup::Max;
    } else if (value == "sum") {
      policy.group = SelectionGroup::Sum;
    } else {
      bad_spec(spec, part, "is not a group mode (head, max or sum)");
    }
  } else {
    Rational ratio;
    try {
      ratio = parse_rational(part);
    } catch (const UserError&) {
      bad_spec(spec, part, "is not understood");
    }
    if (ratio.num == 0 || ratio.num > ratio.den) bad_spec(spec, part, "must be in (0, 100%]");
    policy.ratio = ratio;
  }
}

// "3", "0-5", "-1", "*" -> [first, last] in [0, layers).
std::pair<int, int> parse_layer_range(std::string_view spec, std::string_view range, int layers) {
  if (range == "*") return {0, layers - 1};
  const auto layer = [&](std::string_view text) {
    const bool from_end = !text.empty() && text.front() == '-';
    const int64_t value = positive_count(spec, range, from_end ? text.substr(1) : text, 0);
    const int64_t index = from_end ? layers - value : value;
    if (index < 0 || index >= layers) {
      bad_spec(spec, range, fmt::format("is not a layer of a model with {} layers", layers));
    }
    return static_cast<int>(index);
  };
  const size_t dash = range.find('-', 1);
  if (dash == std::string_view::npos) return {layer(range), layer(range)};
  const std::pair<int, int> ends{layer(range.substr(0, dash)), layer(range.substr(dash + 1))};
  if (ends.first > ends.second) bad_spec(spec, range, "is an empty range of layers");
  return ends;
}

}  // namespace

Budget budget_of(const AttentionPolicy& policy) {
  return {policy.ratio, policy.k_fixed, policy.k_min, policy.k_max};
}

AttentionPolicy parse_policy(std::string_view spec) {
  if (spec == "dense") return {};
  std::string_view rest = spec;
  if (take_until(rest, ':') != "topk" || rest.empty()) bad_spec(spec, spec, "is not understood");
  AttentionPolicy policy;
  policy.kind = AttentionPolicy::Kind::TopK;
  while (!rest.empty()) apply_setting(policy, spec, take_until(rest, ','));
  const bool has_ratio = policy.ratio.num != 0;
  if (has_ratio == (policy.k_fixed != 0)) {
    bad_spec(spec, spec, "must name either a ratio or k=");
  }
  if (policy.k_min > policy.k_max) bad_spec(spec, spec, "has min above max");
  return policy;
}

std::string to_string(const AttentionPolicy& policy) {
  if (policy.dense()) return "dense";
  std::string out = "topk:";
  if (policy.k_fixed != 0) {
    out += fmt::format("k={}", policy.k_fixed);
  } else {
    out += to_string(policy.ratio);
  }
  if (policy.k_min != AttentionPolicy::kDefaultMin) out += fmt::format(",min={}", policy.k_min);
  if (policy.k_max != AttentionPolicy::kNoMax) out += fmt::format(",max={}", policy.k_max);
  if (policy.sink != 0) out += fmt::format(",sink={}", policy.sink);
  if (policy.recent != 0) out += fmt::format(",recent={}", policy.recent);
  if (policy.group == SelectionGroup::Max) out += ",group=max";
  if (policy.group == SelectionGroup::Sum) out += ",group=sum";
  return out;
}

std::vector<AttentionPolicy> parse_layer_policies(std::string_view spec, int layers) {
  std::vector<AttentionPolicy> result(static_cast<size_t>(layers));
  if (spec.find(';') == std::string_view::npos &&
      (spec == "dense" || spec.substr(0, 5) == "topk:")) {
    result.assign(result.size(), parse_policy(spec));
    return result;
  }
  std::vector<bool> named(result.size(), false);
  std::string_view rest = spec;
  while (!rest.empty()) {
    std::string_view rule = take_until(rest, ';');
    const std::string_view range = take_until(rule, ':');
    const auto [first, last] = parse_layer_range(spec, range, layers);
    const AttentionPolicy policy = parse_policy(rule);
    for (int layer = first; layer <= last; ++layer) {
      result[static_cast<size_t>(layer)] = policy;
      named[static_cast<size_t>(layer)] = true;
    }
  }
  for (int layer = 0; layer < layers; ++layer) {
    if (!named[static_cast<size_t>(layer)]) {
      throw_user("attention spec '{}' names no policy for layer {}; begin with '*:dense;'", spec,
                 layer);
    }
  }
  return result;
}

std::string to_string(const std::vector<AttentionPolicy>& layers) {
  std::string out;
  size_t runs = 0;
  for (size_t begin = 0; begin < layers.size();) {
    size_t end = begin + 1;
    while (end < layers.size() && layers[end] == layers[begin]) ++end;
    if (begin == 0 && end == layers.size()) return to_string(layers[0]);
    const std::string range =
        end - begin == 1 ? fmt::format("{}", begin) : fmt::format("{}-{}", begin, end - 1);
    out += fmt::format("{}{}:{}", runs++ ? ";" : "", range, to_string(layers[begin]));
    begin = end;
  }
  return out;
}

}  // namespace pivot
