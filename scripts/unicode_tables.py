#!/usr/bin/env python3
"""Writes data/hf/unicode_tables.cc: which characters the `tokenizers` package takes for letters, numbers, words, ...

The package asks five libraries with tables of different Unicode versions. Its ids are what counts, so each table is
read off the package itself, one character after the other. Needs `tokenizers`, and `unicodedata2` (a newer Unicode
than anything at run time) to know what the package does not know yet.

  python3 scripts/unicode_tables.py > data/hf/unicode_tables.cc
"""

import argparse
import sys
import unicodedata

import unicodedata2
from tokenizers import Regex, normalizers, pre_tokenizers

CHARACTERS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
ALL = "".join(map(chr, CHARACTERS))
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Cf".split())
SCRIPTS = "Arabic Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai".split()
PER_LINE = 5


def matched(pattern):
    """Characters that `pattern`, which matches single ones, matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {ord(c) for piece, _ in split.pre_tokenize_str(ALL) for c in piece}


def removed(normalizer):
    return {c for c in CHARACTERS if not normalizer.normalize_str(chr(c))}


def split_off(pre_tokenizer, neighbour):
    """Characters that do not stay with the letter before them."""
    found = set()
    for c in CHARACTERS:
        pieces = pre_tokenizer.pre_tokenize_str(neighbour + chr(c))
        if pieces[0][0] == neighbour:
            found.add(c)
    return found


def ranges(members):
    members = sorted(members)
    out = []
    for c in members:
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def print_ranges(name, members):
    rows = ranges(members)
    print(f"constexpr CharRange {name}[] = {{")
    texts = [f"{{0x{a:04X}, 0x{b:04X}}}" for a, b in rows]
    for i in range(0, len(texts), PER_LINE):
        print("    " + ", ".join(texts[i:i + PER_LINE]) + ",")
    print("};\n")


def normalised_by_package():
    """Sets: reordered or decomposed by the package; second characters of its compositions (class 0)."""
    nfc, nfd, nfkd = normalizers.NFC(), normalizers.NFD(), normalizers.NFKD()
    ordered = set()
    for c in CHARACTERS:
        ch = chr(c)
        # The classes 1 (U+0334) and 240 (U+0345) are the lowest and the highest.
        if c == 0x345 or nfd.normalize_str("\u0345" + ch) != "\u0345" + nfd.normalize_str(ch):
            ordered.add(c)
    touched = ordered | {c for c in CHARACTERS if nfkd.normalize_str(chr(c)) != chr(c)}
    seconds = set()
    for c in CHARACTERS:
        ch = chr(c)
        parts = nfd.normalize_str(ch)
        if len(parts) > 1 and nfc.normalize_str(ch) == ch:
            seconds.add(ord(parts[-1]))
    return touched, seconds - ordered


def newer_than_package(touched):
    """What Unicode normalises by now and the package does not, and the characters those are composed from."""
    newer = {c for c in CHARACTERS if c not in touched and
             (unicodedata2.combining(chr(c)) or unicodedata2.decomposition(chr(c)) or
              unicodedata2.normalize("NFKD", chr(c)) != chr(c))}
    for c in list(newer):
        parts = unicodedata2.normalize("NFD", chr(c))
        if len(parts) == 2 and ord(parts[0]) not in touched:
            newer.add(ord(parts[0]))
    return newer


def new_in_categories():
    rows = []
    for name in CATEGORIES + SCRIPTS:
        old = {c for c in CHARACTERS if unicodedata.category(chr(c)) == name}
        found = matched(r"\p{%s}" % name)
        if name in SCRIPTS:
            found = {c for c in found if unicodedata.category(chr(c)) == "Cn"}
            old = set()
        gone = {c for c in old - found if name != "Cn"}
        if gone:
            print(f"no longer {name}: {[hex(c) for c in sorted(gone)]}", file=sys.stderr)
        rows += [(name, a, b) for a, b in ranges(found - old)]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"run with Python 3.11 (Unicode 14.0, the oldest PCRE2 in use), not {unicodedata.unidata_version}")
    lowercase = normalizers.Lowercase()
    print("""// Written by scripts/unicode_tables.py from the `tokenizers` package: do not edit.
#include "data/hf/unicode_tables.h"

namespace pivot::hf {
namespace {

// clang-format off""")
    print_ranges("kLetters", matched(r"\p{L}"))
    print_ranges("kNumbers", matched(r"\p{N}"))
    space = matched(r"\s")
    word = set(CHARACTERS) - space - split_off(pre_tokenizers.Whitespace(), "a")
    print_ranges("kWords", word)
    print_ranges("kPunctuation", split_off(pre_tokenizers.Punctuation("removed"), "a"))
    print_ranges("kMarks", removed(normalizers.StripAccents()))
    touched, seconds = normalised_by_package()
    print_ranges("kComposesBackward", seconds)
    print_ranges("kNotNormalized", newer_than_package(touched))
    numeric = split_off(pre_tokenizers.Digits(individual_digits=True), "a")
    print_ranges("kNewNumbers", numeric - matched(r"\p{N}"))
    print("constexpr LowerCase kLowerCase[] = {")
    for c in CHARACTERS:
        lower = lowercase.normalize_str(chr(c))
        if lower != chr(c).lower() and len(lower) == 1:
            print(f"    {{0x{c:04X}, 0x{ord(lower):04X}}},")
    print("};\n\nconstexpr NewMember kNewMembers[] = {")
    for name, a, b in new_in_categories():
        print(f'    {{"{name}", 0x{a:04X}, 0x{b:04X}}},')
    print("""};
// clang-format on

}  // namespace

std::span<const CharRange> letter_ranges() {
  return kLetters;
}
std::span<const CharRange> number_ranges() {
  return kNumbers;
}
std::span<const CharRange> new_number_ranges() {
  return kNewNumbers;
}
std::span<const CharRange> word_ranges() {
  return kWords;
}
std::span<const CharRange> punctuation_ranges() {
  return kPunctuation;
}
std::span<const CharRange> mark_ranges() {
  return kMarks;
}
std::span<const CharRange> composes_backward_ranges() {
  return kComposesBackward;
}
std::span<const CharRange> not_normalized_ranges() {
  return kNotNormalized;
}
std::span<const LowerCase> new_lower_case() {
  return kLowerCase;
}
std::span<const NewMember> new_members() {
  return kNewMembers;
}

}  // namespace pivot::hf""")


if __name__ == "__main__":
    main()
