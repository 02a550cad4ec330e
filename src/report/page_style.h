#pragma once
/// The page's style sheet: light, dark (prefers-color-scheme) and print, and the colours of the
/// pictures.

#include <string_view>

namespace pivot::report {

std::string_view page_style();

}  // namespace pivot::report
