#include "checkpoints/gguf/header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "src/base/check.h"

namespace pivot {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF data is little-endian");

constexpr std::string_view kMagic = "GGUF";
constexpr char kAlignmentKey[] = "general.alignment";
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kLongestKey = 65535;  // these three: the format's description
constexpr uint64_t kLongestTensorName = 64;
constexpr uint32_t kHighestRank = 4;
constexpr int kDeepestArray = 4;  // nobody nests them; the bound is of this reader's stack

/// Bytes of a value of fixed size, 0 for strings and arrays.
uint64_t fixed_bytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::U8:
    case GgufValueType::I8:
    case GgufValueType::Bool:
      return 1;
    case GgufValueType::U16:
    case GgufValueType::I16:
      return 2;
    case GgufValueType::U32:
    case GgufValueType::I32:
    case GgufValueType::F32:
      return 4;
    case GgufValueType::U64:
    case GgufValueType::I64:
    case GgufValueType::F64:
      return 8;
    case GgufValueType::String:
    case GgufValueType::Array:
      return 0;
  }
  return 0;
}

class HeaderParser {
 public:
  HeaderParser(std::string_view file, const std::string& where) : file_(file), where_(where) {}

  GgufHeader parse() {
    what_ = "the header";
    if (take(kMagic.size()) != kMagic) {
      throw_user("{}: does not begin with \"GGUF\": this is not a GGUF file", where_);
    }
    check_version();
    const auto tensors = number<uint64_t>();
    const auto values = number<uint64_t>();
    for (uint64_t i = 0; i < values; ++i) read_value();
    const uint64_t alignment = find_alignment();
    for (uint64_t i = 0; i < tensors; ++i) read_tensor(alignment);
    place_tensors(alignment);
    return std::move(header_);
  }

 private:
  std::string_view take(uint64_t bytes) {
    if (bytes > file_.size() - at_) {
      throw_user("{}: {} wants {} bytes at byte {}, the file ends at {}: truncated or damaged",
                 where_, what_, bytes, at_, file_.size());
    }
    const std::string_view part = file_.substr(at_, bytes);
    at_ += bytes;
    return part;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view text() { return take(number<uint64_t>()); }

  void check_version() {
    header_.version = number<uint32_t>();
    const uint32_t version = header_.version;
    if (version == 2 || version == 3) return;
    if (version != 0 && (version & 0xFFFFU) == 0) {
      throw_user("{}: a big-endian GGUF file: convert it to little-endian", where_);
    }
    throw_user("{}: GGUF version {}, versions 2 and 3 are read: convert the model again", where_,
               version);
  }

  GgufValueType value_type() {
    const auto id = number<uint32_t>();
    if (id > static_cast<uint32_t>(GgufValueType::F64)) {
      throw_user("{}: {} has the unknown type {}", where_, what_, id);
    }
    return static_cast<GgufValueType>(id);
  }

  void read_value() {
    what_ = "a key";
    const std::string_view key = text();
    if (key.empty() || key.size() > kLongestKey) {
      throw_user("{}: a key of {} bytes, 1 to {} are allowed", where_, key.size(), kLongestKey);
    }
    what_ = fmt::format("key '{}'", shown_name(key));
    GgufValue value;
    value.type = value_type();
    uint64_t begin = at_;
    if (value.type == GgufValueType::Array) {
      value.element = value_type();
      value.count = number<uint64_t>();
      begin = at_;
      skip_elements(value.element, value.count, 1);
    } else {
      skip_elements(value.type, 1, 0);
    }
    value.bytes = file_.substr(begin, at_ - begin);
    if (!header_.values.emplace(key, value).second) {
      throw_user("{}: {} occurs twice", where_, what_);
    }
  }

  void skip_elements(GgufValueType type, uint64_t count, int depth) {
    const uint64_t bytes = fixed_bytes(type);
    if (bytes != 0) {
      if (count > file_.size() / bytes) {
        throw_user("{}: {} claims {} elements, more than the file holds", where_, what_, count);
      }
      const std::string_view data = take(count * bytes);
      if (type == GgufValueType::Bool &&
          !std::all_of(data.begin(), data.end(), [](char c) { return c == 0 || c == 1; })) {
        throw_user("{}: {} holds a boolean that is neither 0 nor 1", where_, what_);
      }
      return;
    }
    // Each element takes at least its length or its type and count, so the file bounds the loops.
    for (uint64_t i = 0; i < count; ++i) {
      if (type == GgufValueType::String) {
        text();
        continue;
      }
      if (depth >= kDeepestArray) {
        throw_user("{}: {} nests arrays deeper than {}", where_, what_, kDeepestArray);
      }
      const GgufValueType element = value_type();
      skip_elements(element, number<uint64_t>(), depth + 1);
    }
  }

  uint64_t find_alignment() const {
    const auto found = header_.values.find(kAlignmentKey);
    if (found == header_.values.end()) return kDefaultAlignment;
    std::string_view bytes = found->second.bytes;
    const bool typed = found->second.type == GgufValueType::U32;
    const uint64_t alignment = typed ? take_gguf_bits(GgufValueType::U32, bytes) : 0;
    if (!std::has_single_bit(alignment)) {
      throw_user("{}: {} must be a power of two of type U32", where_, kAlignmentKey);
    }
    return alignment;
  }

  void read_tensor(uint64_t alignment) {
    what_ = "a tensor's name";
    const std::string_view name = text();
    if (name.empty() || name.size() > kLongestTensorName) {
      throw_user("{}: a tensor's name of {} bytes, 1 to {} are allowed", where_, name.size(),
                 kLongestTensorName);
    }
    what_ = fmt::format("tensor '{}'", shown_name(name));
    GgufTensorInfo tensor;
    const auto rank = number<uint32_t>();
    if (rank < 1 || rank > kHighestRank) {
      throw_user("{}: {} has {} dimensions, 1 to {} are allowed", where_, what_, rank,
                 kHighestRank);
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      const auto dim = number<uint64_t>();
      if (dim == 0 || __builtin_mul_overflow(elements, dim, &elements) ||
          elements > uint64_t{std::numeric_limits<int64_t>::max()}) {
        throw_user("{}: {} has a dimension of 0 or more elements than 2^63", where_, what_);
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dim));
    }
    const auto type = number<uint32_t>();
    tensor.type = find_gguf_type(type);
    if (tensor.type == nullptr) {
      throw_user("{}: {} has type {}, which GGUF does not define", where_, what_, type);
    }
    if (tensor.shape.back() % tensor.type->block != 0) {
      throw_user("{}: {} has rows of {} elements, {} comes in blocks of {}", where_, what_,
                 tensor.shape.back(), tensor.type->name, tensor.type->block);
    }
    tensor.begin = number<uint64_t>();
    if (tensor.begin % alignment != 0) {
      throw_user("{}: {} begins at byte {} of the data, not a multiple of the alignment {}", where_,
                 what_, tensor.begin, alignment);
    }
    const uint64_t blocks = elements / static_cast<uint64_t>(tensor.type->block);
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(blocks, static_cast<uint64_t>(tensor.type->bytes), &bytes) ||
        __builtin_add_overflow(tensor.begin, bytes, &tensor.end)) {
      throw_user("{}: {} has more bytes than 2^64", where_, what_);
    }
    if (!header_.tensors.emplace(name, std::move(tensor)).second) {
      throw_user("{}: {} occurs twice", where_, what_);
    }
  }

  // Offsets count from the end of the header, rounded up.
  void place_tensors(uint64_t alignment) {
    if (header_.tensors.empty()) return;
    const uint64_t data = (at_ + alignment - 1) / alignment * alignment;
    const uint64_t available = file_.size() - std::min<uint64_t>(data, file_.size());
    using Item = std::pair<const std::string, GgufTensorInfo>;
    std::vector<Item*> order;
    for (Item& item : header_.tensors) order.push_back(&item);
    std::sort(order.begin(), order.end(),
              [](const Item* a, const Item* b) { return a->second.begin < b->second.begin; });
    uint64_t covered = 0;
    for (Item* item : order) {
      GgufTensorInfo& tensor = item->second;
      if (tensor.end > available) {
        throw_user(
            "{}: tensor '{}' lies at bytes {} to {} of the data, the file holds {}: "
            "truncated?",
            where_, shown_name(item->first), tensor.begin, tensor.end, available);
      }
      if (tensor.begin < covered) {
        throw_user("{}: tensor '{}' overlaps the one before it", where_, shown_name(item->first));
      }
      covered = tensor.end;
      tensor.begin += data;
      tensor.end += data;
    }
  }

  std::string_view file_;
  const std::string& where_;
  uint64_t at_ = 0;
  std::string what_;  // being read, for messages
  GgufHeader header_;
};

}  // namespace

const char* gguf_value_type_name(GgufValueType type) {
  constexpr const char* kNames[] = {"U8",   "I8",     "U16",   "I16", "U32", "I32", "F32",
                                    "Bool", "String", "Array", "U64", "I64", "F64"};
  return kNames[static_cast<uint32_t>(type)];
}

GgufHeader parse_gguf(std::string_view file, const std::string& where) {
  return HeaderParser(file, where).parse();
}

std::string shown_name(std::string_view name) {
  constexpr size_t kLongest = 80;
  std::string text(name.substr(0, kLongest));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return name.size() <= kLongest ? text : text + "...";
}

uint64_t take_gguf_bits(GgufValueType type, std::string_view& bytes) {
  uint64_t bits = 0;
  const uint64_t size = fixed_bytes(type);
  PIVOT_CHECK(size != 0 && size <= bytes.size(), "not a whole value of a fixed size");
  std::memcpy(&bits, bytes.data(), size);
  bytes.remove_prefix(size);
  return bits;
}

std::string_view take_gguf_string(std::string_view& bytes) {
  const uint64_t length = take_gguf_bits(GgufValueType::U64, bytes);
  PIVOT_CHECK(length <= bytes.size(), "not a whole string");
  const std::string_view text = bytes.substr(0, length);
  bytes.remove_prefix(length);
  return text;
}

}  // namespace pivot
