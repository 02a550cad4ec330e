#pragma once
/// How well a text answers a question whose right answers are known: the metrics of SQuAD
/// (Rajpurkar et al., arXiv 1606.05250), which HELMET and LongBench use too.

#include <span>
#include <string>
#include <string_view>

namespace pivot::eval {

/// In this order: lower case; ASCII punctuation deleted, not replaced ("U.S.A." is "usa"); the
/// words "a", "an" and "the" deleted; white space of any kind and number made one space, none at
/// the ends. `text` is UTF-8; invalid bytes are kept as they are. Lower case is known for ASCII,
/// Latin (U+00C0 to U+017F), Greek and Cyrillic, other letters stay.
std::string normalise_answer(std::string_view text);

/// Each is the best over the answers, for each metric by itself.
struct TextScore {
  bool exact = false;      // normalised texts are equal
  bool substring = false;  // the normalised answer is in the normalised text (also inside a word;
                           // always, if it is empty)
  double f1 = 0;           // of the multisets of normalised words; 0 where they share none
};
/// `answers` must not be empty.
TextScore score_text(std::string_view text, std::span<const std::string> answers);

}  // namespace pivot::eval
