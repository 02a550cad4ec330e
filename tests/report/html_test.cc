#include "src/report/html.h"

#include "tests/support/catch.h"

using namespace pivot::report;

TEST_CASE("escape neutralises markup and quotes", "[report]") {
  CHECK(escape("<script>alert('x' & \"y\")</script>") ==
        "&lt;script&gt;alert(&#39;x&#39; &amp; &quot;y&quot;)&lt;/script&gt;");
  CHECK(escape("tab\tline\n") == "tab\tline\n");
  CHECK(escape("") == "");
}

TEST_CASE("escape keeps UTF-8 and replaces what is not", "[report]") {
  CHECK(escape("é 数 🙂") == "é 数 🙂");
  CHECK(escape("a\xFFz") == "a\xEF\xBF\xBDz");
  CHECK(escape("\xC3") == "\xEF\xBF\xBD");                          // cut character
  CHECK(escape("\xC0\xAF") == "\xEF\xBF\xBD\xEF\xBF\xBD");          // overlong '/'
  CHECK(escape("\xED\xA0\x80").find('\xED') == std::string::npos);  // surrogate
  CHECK(escape(std::string("a\0b", 3)) ==
        "a\xEF\xBF\xBD"
        "b");
}

TEST_CASE("tables escape their cells and align numbers", "[report]") {
  const std::string html = table({"a<b", "n"}, {{"x & y", "12.5"}});
  CHECK_THAT(html, ContainsSubstring("a&lt;b"));
  CHECK_THAT(html, ContainsSubstring("<td>x &amp; y</td>"));
  CHECK_THAT(html, ContainsSubstring("<td class=\"n\">12.5</td>"));
  CHECK(key_value_table({}).empty());
}

TEST_CASE("a page is self-contained", "[report]") {
  const std::string page = document("T<", "<p>x</p>");
  CHECK_THAT(page, ContainsSubstring("<title>T&lt;</title>"));
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("http") == std::string::npos);
  CHECK(page.find("@import") == std::string::npos);
  CHECK(page.find("url(") == std::string::npos);
  CHECK_THAT(page, ContainsSubstring("prefers-color-scheme: dark"));
  CHECK_THAT(page, ContainsSubstring("@media print"));
}
