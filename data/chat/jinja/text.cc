#include "data/chat/jinja/text.h"

#include <algorithm>

namespace pivot::chat::jinja {

Text Text::of_message(std::string bytes, int message) {
  Text t(std::move(bytes));
  if (!t.bytes.empty()) t.origins.push_back({0, t.bytes.size(), message});
  return t;
}

void Text::append(const Text& other) {
  const size_t shift = bytes.size();
  bytes += other.bytes;
  if (other.lost >= 0) lost = other.lost;
  for (const Origin& o : other.origins) {
    if (!origins.empty() && origins.back().message == o.message &&
        origins.back().end == o.begin + shift) {
      origins.back().end = o.end + shift;
    } else {
      origins.push_back({o.begin + shift, o.end + shift, o.message});
    }
  }
}

Text Text::part(size_t begin, size_t end) const {
  Text t(bytes.substr(begin, end - begin));
  t.lost = lost;
  for (const Origin& o : origins) {
    const size_t b = std::max(o.begin, begin), e = std::min(o.end, end);
    if (b < e) t.origins.push_back({b - begin, e - begin, o.message});
  }
  return t;
}

Text Text::changed(std::string other) const {
  if (other == bytes) return *this;
  Text t(std::move(other));
  t.lost = lost;
  if (origins.empty()) return t;
  if (origins.size() == 1 && origins[0].begin == 0 && origins[0].end == bytes.size()) {
    return of_message(std::move(t.bytes), origins[0].message);
  }
  t.lost = origins.front().message;
  return t;
}

}  // namespace pivot::chat::jinja
