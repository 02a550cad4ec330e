#!/usr/bin/env python3
"""Writes data/hf/unicode_classes.cc and unicode_additions.cc: which characters the `tokenizers` package takes for letters, numbers, words, ...

The package asks five libraries with tables of different Unicode versions. Its ids are what counts, so each table is
read off the package itself, one character after the other. Needs `tokenizers`, and `unicodedata2` (a newer Unicode
than anything at run time) to know what the package does not know yet.

  python3 scripts/unicode_tables.py
"""

import argparse
import contextlib
import io
import pathlib
import sys
import unicodedata

import unicodedata2
from tokenizers import Regex, normalizers, pre_tokenizers

CHARACTERS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
ALL = "".join(map(chr, CHARACTERS))
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Cf".split())
SCRIPTS = "Arabic Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai".split()
WIDTH = 100


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


def print_table(kind, name, rows):
    print(f"constexpr {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > WIDTH:
            print(line)
            line = "   "
        line += f" {row},"
    print(line + "\n};\n")


def print_ranges(name, members):
    print_table("CharRange", name, [f"{{0x{a:04X}, 0x{b:04X}}}" for a, b in ranges(members)])


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


HEAD = """// Written by scripts/unicode_tables.py from the `tokenizers` package: do not edit.
#include "data/hf/unicode_tables.h"

namespace pivot::hf {
namespace {

// clang-format off"""


def print_end(functions):
    print("// clang-format on\n\n}  // namespace\n")
    for kind, function, table in functions:
        print(f"std::span<const {kind}> {function}() {{\n  return {table};\n}}")
    print("\n}  // namespace pivot::hf")


def print_classes():
    print(HEAD)
    number = matched(r"\p{N}")
    space = matched(r"\s")
    word = set(CHARACTERS) - space - split_off(pre_tokenizers.Whitespace(), "a")
    regex_word = matched(r"\w")
    tables = {
        "letter": matched(r"\p{L}"), "number": number,
        "new_number": split_off(pre_tokenizers.Digits(individual_digits=True), "a") - number,
        "word": word, "no_regex_word": word - regex_word, "only_regex_word": regex_word - word,
        "punctuation": split_off(pre_tokenizers.Punctuation("removed"), "a"),
        "mark": removed(normalizers.StripAccents()),
    }
    for name, members in tables.items():
        print_ranges(table_name(name), members)
    print_end([("CharRange", name + "_ranges", table_name(name)) for name in tables])


def table_name(name):
    return "k" + "".join(part.title() for part in name.split("_"))


def print_additions():
    print(HEAD)
    touched, seconds = normalised_by_package()
    print_ranges("kComposesBackward", seconds)
    print_ranges("kNotNormalized", newer_than_package(touched))
    lowercase = normalizers.Lowercase()
    small = {c: lowercase.normalize_str(chr(c)) for c in CHARACTERS}
    print_table("LowerCase", "kLowerCase", [f"{{0x{c:04X}, 0x{ord(s):04X}}}" for c, s in small.items()
                                            if s != chr(c).lower() and len(s) == 1])
    print_table("NewMember", "kNewMembers", [f'{{"{name}", 0x{a:04X}, 0x{b:04X}}}' for name, a, b in new_in_categories()])
    print_end([("CharRange", "composes_backward_ranges", "kComposesBackward"),
               ("CharRange", "not_normalized_ranges", "kNotNormalized"), ("LowerCase", "new_lower_case", "kLowerCase"),
               ("NewMember", "new_members", "kNewMembers")])


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"run with Python 3.11 (Unicode 14.0, the oldest PCRE2 in use), not {unicodedata.unidata_version}")
    folder = pathlib.Path(__file__).resolve().parent.parent / "data" / "hf"
    for name, write in (("unicode_classes.cc", print_classes), ("unicode_additions.cc", print_additions)):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            write()
        (folder / name).write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main()
