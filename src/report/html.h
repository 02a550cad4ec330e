#pragma once
/// The little of HTML that the report needs. Every text from outside goes through escape().

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pivot::report {

/// Safe inside elements and quoted attributes: & < > " ' are replaced, control characters other
/// than tab and newline and bytes that are not UTF-8 become U+FFFD.
std::string escape(std::string_view text);

/// Two columns, key and value, both escaped. "" when there are no rows.
std::string key_value_table(const std::vector<std::pair<std::string, std::string>>& rows);

/// Header and rows, all cells escaped; cells that are numbers are set to the right.
std::string table(const std::vector<std::string>& header,
                  const std::vector<std::vector<std::string>>& rows);

/// A complete document: `title` is escaped, `body` is HTML.
std::string document(std::string_view title, std::string_view body);

}  // namespace pivot::report
