#!/usr/bin/env python3
"""Compares Pivot's tokenizers with Hugging Face's `tokenizers` package: ids, offsets, decoded text, id for id.

Makes --size bytes of text that tokenizers are known to differ on (scripts of many languages, code, emoji, white space,
control characters, special tokens spelt in the text, combining marks, random Unicode, very long words), encodes all of
it with both and counts differences; one is a failure. Without directories it trains small tokenizers of many kinds
with the package, so that anybody can run it.

  python3 scripts/tokenizer_conformance.py --pivot build/pivot                       # synthetic ones
  python3 scripts/tokenizer_conformance.py --pivot build/pivot DIR...                # and these
  python3 scripts/tokenizer_conformance.py --pivot build/pivot --bench FILE.jsonl DIR...

Needs the Python package `tokenizers`.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,  # noqa: E402
                        pre_tokenizers, processors, trainers)

SCRIPTS = {  # first and last character of what is drawn from
    "latin": [(0x61, 0x7A), (0xC0, 0x24F)], "greek": [(0x370, 0x3FF)], "cyrillic": [(0x400, 0x52F)],
    "hebrew": [(0x591, 0x5F4)], "arabic": [(0x600, 0x6FF)], "devanagari": [(0x900, 0x97F)], "bengali": [(0x980, 0x9FE)],
    "tamil": [(0xB82, 0xBFA)], "thai": [(0xE01, 0xE5B)], "tibetan": [(0xF00, 0xFDA)], "georgian": [(0x10A0, 0x10FF)],
    "jamo": [(0x1100, 0x11FF)], "ethiopic": [(0x1200, 0x139F)], "khmer": [(0x1780, 0x17F9)], "kana": [(0x3040, 0x30FF)],
    "han": [(0x4E00, 0x9FFF)], "hangul": [(0xAC00, 0xD7A3)], "compat": [(0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFF00, 0xFFEF)],
    "maths": [(0x1D400, 0x1D7FF)], "emoji": [(0x1F300, 0x1FAFF), (0x2600, 0x27BF)], "plane2": [(0x20000, 0x2A6DF)],
}
MARKS = [chr(c) for c in list(range(0x300, 0x370)) + [0x200D, 0xFE0F, 0x20E3, 0x1F3FB, 0x1F3FF, 0x94D, 0x3099]]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\t\t", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u2028",
          "\u0085", "\u200b", "\ufeff", "\u180e", "\x0b", "\x0c"]
DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "½⅓²³ⅫⅣ①②", "\U0001d7ce\U0001d7cf"]
CONTRACTIONS = ["'s", "'S", "'re", "'LL", "'ve", "'m", "'D", "'ſ", "’s", "'t", "''s"]
SPELT = ["<|eot_id|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<s>", "</s>", "<unk>", "<pad>", "<think>",
         "</think>", "<|endoftext|>", "<|im_", "<|eot_id|", "<0x0A>", "<0xff>", "▁", "▁▁", "Ġ", "Ċ", "[INST]", "<mask>"]
CODE = ["for (int i = 0; i < n; ++i) {", "return x->y[3];", "def f(self, *a, **k):", "#include <vector>", "a != b && c",
        "http://example.org/?q=1&r=%20", "0xDEADBEEF", "1e-9", "s/\\s+/ /g", "{{ x }}", "/* … */", "$HOME/.x", "foo_barBaz",
        "std::vector<std::pair<int, T>>", "----", "====", "....", "#!/bin/sh", "\\u0041", "=>", "::", "</div>"]


class Writer:
    """Draws pieces of text from one seed."""

    def __init__(self, seed, special):
        self.random = random.Random(seed)
        self.special = special
        self.makers = [self.words, self.words, self.code, self.spaces, self.digits, self.marks, self.spelt, self.anything,
                       self.controls, self.emoji, self.contraction, self.punctuation]

    def char(self, script):
        first, last = self.random.choice(SCRIPTS[script])
        return chr(self.random.randint(first, last))

    def words(self):
        script = self.random.choice(list(SCRIPTS)) if self.random.random() < 0.7 else "latin"
        words = ["".join(self.char(script) for _ in range(self.random.randint(1, 9))) for _ in range(self.random.randint(1, 8))]
        if script == "latin" and self.random.random() < 0.7:
            words = [w.encode("ascii", "ignore").decode() or "a" for w in words]
            words = [self.random.choice([w, w, w.upper(), w.title()]) for w in words]
        return self.random.choice([" ", " ", " ", ""]).join(words)

    def code(self):
        return self.random.choice(CODE)

    def spaces(self):
        if self.random.random() < 0.1:
            return self.random.choice([" ", "\n", "\t", "\r\n"]) * self.random.randint(2, 200)
        return "".join(self.random.choice(SPACES) for _ in range(self.random.randint(1, 4)))

    def digits(self):
        return "".join(self.random.choice(self.random.choice(DIGITS)) for _ in range(self.random.randint(1, 9)))

    def marks(self):
        base = self.random.choice("aeiouAEn가각か日ก \n")
        return base + "".join(self.random.choice(MARKS) for _ in range(self.random.randint(1, 4)))

    def spelt(self):
        return self.random.choice(SPELT + self.special)

    def anything(self):
        codes = (self.random.randrange(0x110000) for _ in range(self.random.randint(1, 12)))
        return "".join(chr(c) for c in codes if not 0xD800 <= c <= 0xDFFF)

    def controls(self):
        return "".join(chr(self.random.choice(list(range(0x20)) + list(range(0x7F, 0xA0)))) for _ in range(3))

    def emoji(self):
        joined = "\u200d".join(self.char("emoji") for _ in range(self.random.randint(1, 4)))
        return joined + self.random.choice(["", "\ufe0f", "\U0001f3fd"])

    def contraction(self):
        return self.random.choice("IiweXñ1 ") + self.random.choice(CONTRACTIONS)

    def punctuation(self):
        return "".join(self.random.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»„“”…—。、！") for _ in range(self.random.randint(1, 6)))

    def text(self, length):
        parts, size = [], 0
        while size < length:
            part = self.random.choice(self.makers)()
            if self.random.random() < 0.4:
                part += " "
            parts.append(part)
            size += len(part.encode())
        return "".join(parts)

    def long_words(self):
        for n in (300, 5000, 60000):
            yield "x" * n
            yield "".join(self.random.choice("abcdefgh") for _ in range(n))
            yield "ñ日" * (n // 2)
            yield " " * n + "a"
            yield "\n" * n
            yield "".join(self.random.choice("01") for _ in range(n))
            yield "".join(self.char("han") for _ in range(n))

    def texts(self, size):
        made = ["", " ", "\n", "a", *SPELT, *self.special, *self.long_words()]
        total = sum(len(t.encode()) for t in made)
        while total < size:
            made.append(self.text(int(2 ** self.random.uniform(3, 13))))
            total += len(made[-1].encode())
        return made


def run(command, lines):
    done = subprocess.run(command, input="".join(lines), capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout.split("\n")[:-1]


def encode(pivot, directory, texts, *flags):
    lines = run([pivot, "tokenizer", "encode", "--model", str(directory), "--json", *flags], (json.dumps(t) + "\n" for t in texts))
    return [json.loads(line) for line in lines]


def decode(pivot, directory, ids):
    lines = run([pivot, "tokenizer", "decode", "--model", str(directory), "--json"], (json.dumps(i) + "\n" for i in ids))
    return [json.loads(line) for line in lines]


class Report:
    def __init__(self, show):
        self.differences = 0
        self.show = show

    def compare(self, name, what, inputs, expected, got):
        bad = [(i, e, g) for i, e, g in zip(inputs, expected, got) if e != g]
        if len(expected) != len(got):
            bad.append(("number of lines", len(expected), len(got)))
        self.differences += len(bad)
        for i, e, g in bad[:self.show]:
            print(f"  {name}: {what}: {ascii(i)[:300]}\n    tokenizers {ascii(e)[:300]}\n    pivot      {ascii(g)[:300]}")
        return len(bad)


def offsets_in_bytes(text, offsets):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [(at[a], at[b]) for a, b in offsets]


def offsets_differ(tokenizer):
    """Whether offsets differ by design: where a normalizer changes text, the post-processor trims, or all bytes of a run of
    unknown characters are given the whole run (Unigram)."""
    parts = json.loads(tokenizer.to_str())
    return (parts["model"]["type"] == "Unigram" and parts["model"].get("byte_fallback")) or parts["normalizer"] is not None or '"trim_offsets": true' in json.dumps(parts["post_processor"])


def check(name, directory, args, report):
    directory = pathlib.Path(directory)
    reference = Tokenizer.from_file(str(directory / "tokenizer.json"))
    special = [t.content for t in reference.get_added_tokens_decoder().values()]
    texts = Writer(args.seed, special[:64]).texts(args.size)
    size = sum(len(t.encode()) for t in texts)
    expected = [reference.encode(t, add_special_tokens=False) for t in texts]
    ids = [e.ids for e in expected]
    got = encode(args.pivot, directory, texts)
    bad = report.compare(name, "ids", texts, ids, got)
    with_special = [reference.encode(t).ids for t in texts[:2000]]
    if json.loads(reference.to_str())["post_processor"] is not None and not (directory / "tokenizer_config.json").exists():
        bad += report.compare(name, "ids with special tokens", texts, with_special, encode(args.pivot, directory, texts[:2000], "--add-special"))
    reference.encode_special_tokens = True
    plain = [reference.encode(t, add_special_tokens=False).ids for t in texts[:5000]]
    reference.encode_special_tokens = False
    bad += check_plain(name, directory, reference, texts[:5000], plain, args, report)
    if not offsets_differ(reference):
        spans = encode(args.pivot, directory, texts, "--spans")
        wanted = [offsets_in_bytes(t, e.offsets) for t, e in zip(texts, expected)]
        bad += report.compare(name, "offsets", texts, wanted, [list(zip(s["begin"], s["end"])) for s in spans])
    decoded = [reference.decode(i, skip_special_tokens=False) for i in ids]
    bad += report.compare(name, "decoded", ids, decoded, decode(args.pivot, directory, ids))
    rnd = random.Random(args.seed)
    vocab = reference.get_vocab_size()
    drawn = [[rnd.randrange(vocab) for _ in range(rnd.randint(0, 12))] for _ in range(5000)]
    wanted = [reference.decode(i, skip_special_tokens=False) for i in drawn]
    got = decode(args.pivot, directory, drawn)
    if '"ByteFallback"' in json.dumps(json.loads(reference.to_str())["decoder"]):
        # Bytes that form no character: the package has one U+FFFD for each byte of the group, Pivot keeps the bytes.
        kept = [k for k in range(len(drawn)) if "\ufffd" not in wanted[k]]
        drawn, wanted, got = ([x[k] for k in kept] for x in (drawn, wanted, got))
    bad += report.compare(name, "decoded from random ids", drawn, wanted, got)
    bad += check_invalid(name, directory, reference, args, report)
    tokens = sum(map(len, ids))
    print(f"{name:<28} {size / 1e6:6.1f} MB {len(texts):>7} texts {tokens:>9} tokens  {bad} differences", flush=True)


def check_plain(name, directory, reference, texts, expected, args, report):
    """Special tokens spelt in plain text: the package's models may still make them of it, Pivot never does."""
    special = {i for i, t in reference.get_added_tokens_decoder().items() if t.special}
    never = special - {reference.token_to_id("<unk>")}
    got = encode(args.pivot, directory, texts, "--plain")
    bad = report.compare(name, "special tokens in plain text", texts, [[] for _ in got], [[i for i in g if i in never] for g in got])
    same = [k for k in range(len(texts)) if not special & set(expected[k])]
    return bad + report.compare(name, "ids of plain text", *([x[k] for k in same] for x in (texts, expected, got)))


def check_invalid(name, directory, reference, args, report):
    """Invalid UTF-8 is encoded as what it becomes with U+FFFD for each maximal invalid part."""
    rnd = random.Random(args.seed + 1)
    writer = Writer(args.seed + 2, [])
    raw = []
    for _ in range(1000):
        data = bytearray(writer.text(60).replace("\n", " ").encode())
        for _ in range(rnd.randint(1, 5)):
            data[rnd.randrange(len(data))] = rnd.choice([0xFF, 0xC3, 0xE2, 0xF0, 0x80, 0xED, 0xF4, 0xC0])
        raw.append(bytes(data).replace(b"\n", b" "))
    done = subprocess.run([args.pivot, "tokenizer", "encode", "--model", str(directory)], input=b"\n".join(raw) + b"\n",
                          capture_output=True, check=True)
    got = [json.loads(line) for line in done.stdout.split(b"\n")[:-1]]
    wanted = [reference.encode(r.decode("utf-8", "replace"), add_special_tokens=False).ids for r in raw]
    return report.compare(name, "invalid UTF-8", raw, wanted, got)


def llama2_normalizer():
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def llama2_decoder():
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


BYTES = [f"<0x{b:02X}>" for b in range(256)]
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]


def split(regex, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(regex), behavior, invert)


def byte_level(*steps, normalizer=None, post=None, use_regex=False, prefix_space=False):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)])
    t.decoder = decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    if post:
        t.post_processor = post
    return t, trainers.BpeTrainer(vocab_size=1500, special_tokens=["<s>", "</s>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def sentencepiece_bpe(normalizer=None, pre_tokenizer=None, decoder=None, fuse_unk=True, fallback=True):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse_unk, byte_fallback=fallback))
    t.pre_tokenizer = pre_tokenizers.Metaspace()  # to learn words; replaced below
    special = ["<unk>", "<s>", "</s>"] + (BYTES if fallback else [])
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=special, show_progress=False, limit_alphabet=300)

    def finish(made):
        made.normalizer = normalizer
        made.pre_tokenizer = pre_tokenizer
        made.decoder = decoder or llama2_decoder()
        made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>",
                                                            special_tokens=[("<s>", 1), ("</s>", 2)])
    return t, trainer, finish


def unigram(pre_tokenizer, normalizer=None, fallback=False):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizer
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=1200, special_tokens=["<unk>", "<s>", "</s>"] + (BYTES if fallback else []),
                                      unk_token="<unk>", show_progress=False)

    def finish(made):
        if fallback:
            parts = json.loads(made.to_str())
            parts["model"]["byte_fallback"] = True
            made = Tokenizer.from_str(json.dumps(parts))
            made.decoder = llama2_decoder()
        return made
    return t, trainer, finish


def kinds():
    """name: (tokenizer, trainer[, finish])"""
    template = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    roberta = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=False)
    first = pre_tokenizers.Metaspace(prepend_scheme="first")
    return {
        "byte-level gpt2": byte_level(use_regex=True, post=roberta),
        "byte-level gpt2 prefix": byte_level(use_regex=True, prefix_space=True),
        "byte-level llama3 template": byte_level(split(LLAMA3), post=template),
        "byte-level qwen2 nfc": byte_level(split(QWEN2), normalizer=normalizers.NFC()),
        "byte-level nfkc lowercase": byte_level(split(QWEN2), normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
        "byte-level nfd accents": byte_level(use_regex=True, normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])),
        "byte-level nfkd strip": byte_level(use_regex=True, normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.Strip()])),
        "byte-level cl100k": byte_level(split(CL100K)),
        "byte-level gpt-4o": byte_level(split(GPT4O)),
        "byte-level deepseek": byte_level(*[split(p) for p in DEEPSEEK]),
        "byte-level digits": byte_level(pre_tokenizers.Digits(individual_digits=True), use_regex=True),
        "byte-level digits, groups": byte_level(pre_tokenizers.Digits(individual_digits=False), use_regex=True),
        "byte-level punctuation": byte_level(pre_tokenizers.Punctuation("contiguous"), use_regex=True),
        "byte-level whitespace": byte_level(pre_tokenizers.Whitespace()),
        "byte-level whitespace split": byte_level(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous")),
        "byte-level split behaviours": byte_level(split(r"\d+", "merged_with_next"), split(r"[aeiou]+", "merged_with_previous"),
                                                  split(r"\s", "contiguous"), pre_tokenizers.Split("e", "isolated"), split(r"x+|z?", "removed")),
        "byte-level inverted split": byte_level(split(r"\w+", "merged_with_next", True)),
        "byte-level replace": byte_level(use_regex=True, normalizer=normalizers.Sequence([normalizers.Replace(Regex(r"\s{2,}"), " "), normalizers.Replace("e", "éé")])),
        "bpe llama-2 legacy": sentencepiece_bpe(normalizer=llama2_normalizer()),
        "bpe llama-2": sentencepiece_bpe(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
        "bpe gemma": sentencepiece_bpe(normalizer=normalizers.Replace(" ", "▁"), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
                                       decoder=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])),
        "bpe unk fused": sentencepiece_bpe(normalizer=llama2_normalizer(), fallback=False),
        "bpe unk apart": sentencepiece_bpe(normalizer=llama2_normalizer(), fallback=False, fuse_unk=False),
        "bpe metaspace always": sentencepiece_bpe(pre_tokenizer=pre_tokenizers.Metaspace(), decoder=decoders.Metaspace()),
        "bpe metaspace never": sentencepiece_bpe(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="never"),
                                                 decoder=decoders.Metaspace(prepend_scheme="never")),
        "unigram": unigram(pre_tokenizers.Metaspace()),
        "unigram first, no split": unigram(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), normalizers.Nmt()),
        "unigram byte fallback": unigram(first, fallback=True),
        "bpe prefix and suffix": affixes(),
    }


def affixes():
    t = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return t, trainers.BpeTrainer(vocab_size=2500, special_tokens=["<unk>"], continuing_subword_prefix="##", end_of_word_suffix="</w>",
                                  limit_alphabet=400, show_progress=False)


ADDED = [AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True, normalized=False),
         AddedToken("<|im_", normalized=False), AddedToken("<mask>", lstrip=True, special=True), AddedToken("<pad>", rstrip=True, special=True),
         AddedToken("[INST]", lstrip=True, rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=False),
         AddedToken("Éa", normalized=True), AddedToken("for", single_word=True, normalized=True), AddedToken("  \n", normalized=False)]


def make_synthetic(folder, seed):
    corpus = [Writer(seed + i, []).text(2000) for i in range(150)]
    corpus += ["the quick brown fox jumps over the lazy dog, and then some more words for the model to learn " * 3] * 20
    for name, (tokenizer, trainer, *finish) in kinds().items():
        # Unigram models hold all characters they have seen.
        seen = ["".join(c for c in t if c < "\u0530") for t in corpus] if "unigram" in name else corpus
        tokenizer.train_from_iterator(seen, trainer)
        for step in finish:
            tokenizer = step(tokenizer) or tokenizer
        parts = json.loads(tokenizer.to_str())  # byte tokens are ordinary ones in real files
        parts["added_tokens"] = [t for t in parts["added_tokens"] if t["content"] not in BYTES]
        tokenizer = Tokenizer.from_str(json.dumps(parts))
        tokenizer.add_tokens(ADDED)
        path = folder / name.replace(" ", "_").replace(",", "")
        path.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(path / "tokenizer.json"))
        yield name, path


FIXTURES = {"byte-level llama3 template": 330, "byte-level qwen2 nfc": 330, "byte-level nfkc lowercase": 330, "byte-level deepseek": 330,
            "byte-level split behaviours": 330, "bpe llama-2 legacy": 500, "bpe llama-2": 500, "bpe unk fused": 300,
            "bpe prefix and suffix": 500, "unigram": 300, "unigram byte fallback": 500}
FIXTURE_TEXTS = ["", "Hello world", " Hello  world", "I'M we'LL don't 'ſa", "12345678 9", "a\n\n\nb", "x \n\n y", "é vs e\u0301 ﬁ Å", "trailing   ",
                 "\u00a0nbsp \u3000x", "٣٤٥ ½ Ⅻ", "foo_bar.baz(1);\r\n\r\n", "🙂👩\u200d👩\u200d👧", "नमस्ते", "a  \n  b", "HELLO'S", "\u200b\ufeffx",
                 "<|im_start|>user\nhi<|im_end|>\n", "a <mask>b <pad>  c [INST]  d", "word words wordword a word", "for Éa éa", "<s>Hello</s> x", "Hello<s> there",
                 "▁▁ a▁b", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "ab12cd  ef!?  gh",
                 "the quick brown fox <0x0A>", "日本語 テスト 한국어", "\x00\x1f\x7f", "the<|im_"]


def write_fixtures(folder):
    """Small tokenizers and what the package makes of a few texts: the data of tests/data/hf_tokenizer_test.cc."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = ["the quick brown fox jumps over the lazy dog and hello world to the words of it all, don't they? 12 345 "] * 20
    corpus += ["Привет, мир! naïve café 日本語 def f(x): return x[0] + 1\n\n"] * 5
    made = kinds()
    for name, vocab in FIXTURES.items():
        tokenizer, trainer, *finish = made[name]
        trainer.vocab_size = vocab
        tokenizer.train_from_iterator(corpus, trainer)
        for step in finish:
            tokenizer = step(tokenizer) or tokenizer
        tokenizer.add_tokens(ADDED)
        parts = json.loads(tokenizer.to_str())
        parts["added_tokens"] = [t for t in parts["added_tokens"] if t["content"] not in BYTES]
        tokenizer = Tokenizer.from_str(json.dumps(parts))
        stem = name.replace(" ", "_").replace("-", "_")
        (folder / f"{stem}.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")
        with open(folder / f"{stem}.jsonl", "w", encoding="utf-8") as out:
            for text in FIXTURE_TEXTS:
                encoding = tokenizer.encode(text, add_special_tokens=False)
                case = {"text": text, "ids": encoding.ids, "special": tokenizer.encode(text).ids,
                        "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False)}
                if not offsets_differ(tokenizer):
                    case["offsets"] = offsets_in_bytes(text, encoding.offsets)
                out.write(json.dumps(case) + "\n")


def bench(directory, args):
    texts, size = [], 0
    with open(args.bench, encoding="utf-8") as lines:
        for line in lines:
            texts.append(json.loads(line)["text"])
            size += len(texts[-1].encode())
            if size >= args.bench_size:
                break
    reference = Tokenizer.from_file(str(pathlib.Path(directory) / "tokenizer.json"))

    def timed(call):
        start = time.process_time()
        call()
        return size / 1e6 / (time.process_time() - start)
    single = max(timed(lambda: [reference.encode(t, add_special_tokens=False) for t in texts]) for _ in range(args.rounds))
    batch = max(timed(lambda: reference.encode_batch(texts, add_special_tokens=False)) for _ in range(args.rounds))
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([args.pivot, "bench", "tokenizer", "--model", str(directory), "--input", args.bench, "--bytes", str(args.bench_size),
                        "--rounds", str(args.rounds), "--json", out.name], check=True, stdout=subprocess.DEVNULL)
        ours = json.load(open(out.name, encoding="utf-8"))
    speed = ours["mb_per_cpu_second"]
    print(f"{directory}: {size / 1e6:.0f} MB, one thread, MB per second of CPU, best of {args.rounds}: pivot {speed:.1f}, tokenizers "
          f"{single:.2f} one by one ({speed / single:.1f}x), {batch:.2f} as a batch ({speed / batch:.1f}x)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="*", help="with a tokenizer.json each; none: synthetic ones")
    parser.add_argument("--pivot", default="build/pivot")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=10_000_000, help="bytes of text for each tokenizer")
    parser.add_argument("--synthetic", action="store_true", help="also synthetic ones when there are directories")
    parser.add_argument("--only", default="", help="synthetic ones whose name contains this")
    parser.add_argument("--keep", help="where to leave the synthetic tokenizers")
    parser.add_argument("--fixtures", help="write small tokenizers and expected ids for the tests into this directory instead")
    parser.add_argument("--show", type=int, default=2, help="differences to print for each comparison")
    parser.add_argument("--bench", help="measure speed on the texts of this JSON-lines file instead")
    parser.add_argument("--bench-size", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.bench:
        for directory in args.directories:
            bench(directory, args)
        return 0
    if args.fixtures:
        write_fixtures(pathlib.Path(args.fixtures))
        return 0
    report = Report(args.show)
    for directory in args.directories:
        check(pathlib.Path(directory).name, directory, args, report)
    if args.synthetic or not args.directories:
        with tempfile.TemporaryDirectory() as scratch:
            for name, path in make_synthetic(pathlib.Path(args.keep or scratch), args.seed):
                if args.only in name:
                    check(name, path, args, report)
    print(f"{report.differences} differences")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
