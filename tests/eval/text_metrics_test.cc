#include "src/eval/text_metrics.h"

#include <vector>

#include "tests/support/catch.h"

using namespace pivot::eval;

namespace {

TextScore against(const std::string& text, std::vector<std::string> answers) {
  return score_text(text, answers);
}

}  // namespace

TEST_CASE("answers are normalised as SQuAD does it", "[eval]") {
  CHECK(normalise_answer("The  Cat's hat!") == "cats hat");
  CHECK(normalise_answer("an") == "");
  CHECK(normalise_answer("U.S.A.") == "usa");
  CHECK(normalise_answer("Theatre") == "theatre");
  // Punctuation goes before articles are looked for.
  CHECK(normalise_answer("a.b") == "ab");
  CHECK(normalise_answer("the-end") == "theend");
  CHECK(normalise_answer("A-team") == "ateam");
  CHECK(normalise_answer("the a-n end") == "end");
  CHECK(normalise_answer("\t an apple\n\na day ") == "apple day");
  CHECK(normalise_answer("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") == "");
  CHECK(normalise_answer("") == "");
  CHECK(normalise_answer("a the an") == "");
}

TEST_CASE("normalising beyond ASCII", "[eval]") {
  CHECK(normalise_answer("ÉCOLE Œuvre ŸŻ ĲŊ") == "école œuvre ÿż ĳŋ");
  CHECK(normalise_answer("ΆΈΌΏΑΩ Σ") == "άέόώαω σ");
  CHECK(normalise_answer("МОСКВА ЁЖ ӀӁ Ґ") == "москва ёж ӏӂ ґ");
  CHECK(normalise_answer("×÷ß") == "×÷ß");
  // No-break, thin and ideographic spaces are spaces.
  CHECK(normalise_answer("one\u00A0two\u2009three\u3000four") == "one two three four");
  // An article beside typographic quotes is one, beside a letter with an accent it is not.
  CHECK(normalise_answer("“The” end") == "“ ” end");
  CHECK(normalise_answer("éa aé the") == "éa aé");
  CHECK(normalise_answer("日本 a 語") == "日本 語");
  CHECK(normalise_answer("\xFF"
                         "A\xC3 b") ==
        "\xFF"
        "a\xC3 b");
}

TEST_CASE("F1 is of multisets of words", "[eval]") {
  CHECK(against("the red big cat", {"big cat"}).f1 == Approx(0.8));
  CHECK(against("x x", {"x"}).f1 == Approx(2.0 / 3));
  CHECK(against("x", {"x x"}).f1 == Approx(2.0 / 3));
  CHECK(against("x y", {"z"}).f1 == 0);
  CHECK(against("y x", {"x y"}).f1 == 1);
  CHECK(against("", {"x"}).f1 == 0);
  CHECK(against("the", {"a"}).f1 == 0);  // both are empty
}

TEST_CASE("exact and substring match look at normalised texts", "[eval]") {
  CHECK(against("The answer.", {"answer"}).exact);
  CHECK_FALSE(against("The answer is 42.", {"42"}).exact);
  CHECK(against("The answer is 42.", {"42"}).substring);
  CHECK(against("to the big apple", {"big, apple"}).substring);
  CHECK_FALSE(against("apple big", {"big apple"}).substring);
  CHECK(against("party", {"art"}).substring);
  CHECK(against("anything", {"an"}).substring);  // nothing is left of the answer
  CHECK_FALSE(against("anything", {"an"}).exact);
}

TEST_CASE("the best of several answers, metric by metric", "[eval]") {
  const TextScore s = against("big red cat", {"nothing", "cat", "big red dog and cat"});
  CHECK(s.substring);
  CHECK_FALSE(s.exact);
  CHECK(s.f1 == Approx(2 * 3.0 / 8));
  CHECK(against("dog", {"cat", "The dog"}).exact);
}
