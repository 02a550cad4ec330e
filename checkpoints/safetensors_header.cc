#include "checkpoints/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

using Json = nlohmann::json;

// A name as it may appear in a message: hostile ones are long.
std::string shown(const std::string& name) {
  constexpr size_t kLongest = 80;
  return name.size() <= kLongest ? name : name.substr(0, kLongest) + "...";
}

// The header has exactly three levels; anything deeper or of another type is refused as it is met,
// so that no document tree is ever built.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(SafetensorsHeader& header, const std::string& where)
      : header_(header), where_(where) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool /*value*/) override { return unexpected("a boolean"); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
    return unexpected("a fraction or a number above 2^64");
  }
  bool number_integer(number_integer_t /*value*/) override {
    return unexpected("a negative number");
  }
  bool binary(binary_t& /*value*/) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::Shape) {
      if (value > uint64_t{std::numeric_limits<int64_t>::max()}) {
        throw_user("{}: tensor '{}' has a dimension above 2^63", where_, shown(name_));
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (place_ == Place::Offsets) {
      if (offsets_ == 2) bad_offsets();
      (offsets_ == 0 ? entry_.begin : entry_.end) = value;
      ++offsets_;
      return true;
    }
    return unexpected("a number");
  }

  bool string(string_t& value) override {
    if (place_ == Place::Metadata) {
      if (!header_.metadata.emplace(key_, value).second) {
        throw_user("{}: metadata key '{}' occurs twice", where_, shown(key_));
      }
      return true;
    }
    if (place_ == Place::Tensor && key_ == "dtype") {
      entry_.dtype = value;
      return true;
    }
    return unexpected("text");
  }

  bool start_object(std::size_t /*elements*/) override {
    if (place_ == Place::Outside) {
      place_ = Place::Top;
    } else if (place_ == Place::Top && key_ == "__metadata__") {
      if (std::exchange(metadata_seen_, true)) throw_user("{}: __metadata__ occurs twice", where_);
      place_ = Place::Metadata;
    } else if (place_ == Place::Top) {
      name_ = key_;
      entry_ = {};
      fields_.clear();
      offsets_ = 0;
      place_ = Place::Tensor;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Tensor) {
      if (fields_.size() != 3) {
        throw_user("{}: tensor '{}' needs dtype, shape and data_offsets", where_, shown(name_));
      }
      if (!header_.entries.emplace(name_, std::move(entry_)).second) {
        throw_user("{}: tensor '{}' occurs twice", where_, shown(name_));
      }
    }
    place_ = place_ == Place::Top ? Place::Outside : Place::Top;
    return true;
  }

  bool start_array(std::size_t /*elements*/) override {
    if (place_ != Place::Tensor || (key_ != "shape" && key_ != "data_offsets")) {
      return unexpected("a list");
    }
    place_ = key_ == "shape" ? Place::Shape : Place::Offsets;
    return true;
  }

  bool end_array() override {
    if (place_ == Place::Offsets && offsets_ != 2) bad_offsets();
    place_ = Place::Tensor;
    return true;
  }

  bool key(string_t& value) override {
    key_ = value;
    if (place_ == Place::Tensor) {
      if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") {
        throw_user("{}: tensor '{}' has an unknown field '{}'", where_, shown(name_), shown(key_));
      }
      if (!fields_.insert(key_).second) {
        throw_user("{}: tensor '{}' has two fields '{}'", where_, shown(name_), key_);
      }
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    throw_user(
        "{}: the header is not valid JSON at byte {}: the file is damaged or not safetensors",
        where_, position);
  }

 private:
  enum class Place { Outside, Top, Metadata, Tensor, Shape, Offsets };

  bool unexpected(const char* what) const {
    throw_user("{}: {} where it is not expected in the header (near '{}')", where_, what,
               shown(key_));
  }
  void bad_offsets() const {
    throw_user("{}: tensor '{}': data_offsets must be two numbers", where_, shown(name_));
  }

  SafetensorsHeader& header_;
  const std::string& where_;
  Place place_ = Place::Outside;
  std::string key_, name_;
  SafetensorsHeader::Entry entry_;
  std::set<std::string> fields_;
  int offsets_ = 0;
  bool metadata_seen_ = false;
};

void check_range(const std::string& name, const SafetensorsHeader::Entry& entry,
                 uint64_t data_bytes, const std::string& where) {
  const int64_t element = safetensors_dtype_bytes(entry.dtype);
  if (element == 0) {
    throw_user("{}: tensor '{}' has dtype '{}', which is not known", where, shown(name),
               shown(entry.dtype));
  }
  if (entry.begin > entry.end || entry.end > data_bytes) {
    throw_user(
        "{}: tensor '{}' lies at bytes {} to {}, the file holds {} bytes of data: truncated?",
        where, shown(name), entry.begin, entry.end, data_bytes);
  }
  uint64_t bytes = static_cast<uint64_t>(element);
  for (const int64_t d : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(d), &bytes)) {
      throw_user("{}: tensor '{}': its shape overflows 64 bits", where, shown(name));
    }
  }
  if (bytes != entry.end - entry.begin) {
    throw_user("{}: tensor '{}': its shape takes {} bytes, its data_offsets span {}", where,
               shown(name), bytes, entry.end - entry.begin);
  }
}

void check_cover(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& where) {
  using Item = std::pair<const std::string, SafetensorsHeader::Entry>;
  std::vector<const Item*> order;
  order.reserve(header.entries.size());
  for (const Item& item : header.entries) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  for (const Item* item : order) {
    if (item->second.begin != covered) {
      throw_user("{}: tensor '{}' begins at byte {} where {} is due: {}", where, shown(item->first),
                 item->second.begin, covered,
                 item->second.begin < covered ? "tensors overlap" : "a hole in the data");
    }
    covered = item->second.end;
  }
  if (covered != data_bytes) {
    throw_user("{}: {} bytes of data, {} described by the header", where, data_bytes, covered);
  }
}

}  // namespace

int64_t safetensors_dtype_bytes(std::string_view dtype) {
  struct Known {
    std::string_view name;
    int64_t bytes;
  };
  constexpr Known kKnown[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8},     {"I64", 8},
                              {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U8", 1},      {"U16", 2},
                              {"U32", 4}, {"U64", 8}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  for (const Known& known : kKnown) {
    if (known.name == dtype) return known.bytes;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                           const std::string& where) {
  if (json.empty() || json.front() != '{') {
    throw_user("{}: the header does not begin with '{{': this is not a safetensors file", where);
  }
  SafetensorsHeader header;
  HeaderReader reader(header, where);
  Json::sax_parse(json.begin(), json.end(), &reader);
  for (const auto& [name, entry] : header.entries) check_range(name, entry, data_bytes, where);
  check_cover(header, data_bytes, where);
  return header;
}

}  // namespace pivot
