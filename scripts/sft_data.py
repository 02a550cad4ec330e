#!/usr/bin/env python3
"""Conversations for fine-tuning, from documentation packages of Debian: real text, answers that can be checked.

    python3 scripts/sft_data.py --packages work/packages --tokenizer MODEL/tokenizer.json --out work/data

Writes OUT/train.jsonl.zst (dialogues and questions about long texts, shuffled), OUT/heldout.jsonl.zst (dialogues),
OUT/readings.jsonl.zst (held-out questions about long texts), OUT/questions_N.jsonl.zst (one question about a text of N tokens, with "answers"), and OUT/figures.json.

Dialogues: definitions (GCIDE, FOLDOC, Jargon File), perlfaq, the FAQs of Python and Debian, An Anarchist FAQ, records of
packages. Long texts: stretches of those sources, of Perl's, Python's and git's manuals; the answer is a sentence that stands
in the text, at every depth. Documents go to training or to the test as a whole; what both would ask is taken out of the
test. The same seed, packages and tokenizer give the same bytes.

Packages that are not in --packages yet are downloaded by apt-get and unpacked there, not installed. Needs the Python package
tokenizers, apt and zstd.
"""
import argparse
import bisect
import hashlib
import json
import pathlib
import random
import subprocess
import sys
from collections import Counter, defaultdict

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
import sft_sources

TURN_TOKENS = 12  # headers and ends around a message, in any template
SYSTEM_TOKENS = 40  # a default system message that a template may add
KINDS = {"words": 2, "computing": 2, "perl": 2, "python": 2, "git": 1, "packages": 3, "debian": 0.5, "essays": 1}
ASK = ["{text}\n\n{question}", "{question}\n\n{text}\n\n{question}", "Read this text and answer the question after it.\n\n{text}\n\n"
       "Question: {question}"]
QUOTE = " Answer with the exact words of the text."


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", required=True, type=pathlib.Path, help="directory of the unpacked packages")
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json of the model: lengths are counted with it")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--context", type=int, default=8192, help="longest conversation in tokens")
    parser.add_argument("--dialogue-tokens", type=float, default=6e6, help="of training, all sources of dialogues together")
    parser.add_argument("--text-tokens", type=float, default=14e6, help="of training with long texts")
    parser.add_argument("--heldout", type=int, default=1000, help="dialogues of the test")
    parser.add_argument("--heldout-text-tokens", type=float, default=4e5, help="of the test with long texts")
    parser.add_argument("--lengths", default="1024,4096,7680", help="tokens of the tests' texts")
    parser.add_argument("--questions", type=int, default=100, help="of each length")
    parser.add_argument("--test-share", type=float, default=0.04, help="of the documents")
    return parser.parse_args()


def fetch_packages(root):
    """Every package unpacked under root; apt-get is asked only for missing ones."""
    marks = root / "fetched"
    marks.mkdir(parents=True, exist_ok=True)
    for package in sft_sources.PACKAGES:
        if (marks / package).exists():
            continue
        print(f"sft_data: fetching {package}", file=sys.stderr)
        for old in root.glob(f"{package}_*.deb"):
            old.unlink()
        subprocess.run(["apt-get", "download", "-qq", package], cwd=root, check=True)
        (deb,) = root.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", deb.name, "."], cwd=root, check=True)
        (marks / package).write_text(deb.name + "\n")
        deb.unlink()
    return sorted((marks / package).read_text().strip() for package in sft_sources.PACKAGES)


def is_test(document, args):
    digest = hashlib.sha256(f"{args.seed}/{document.name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < args.test_share * 2**32


class Stream:
    """All documents of one kind and one side of the split, one after another, each below its name."""

    def __init__(self, documents, count_tokens):
        self.lines, self.facts, self.owner = [], [], []
        for document in documents:
            self.lines += [f"==> {document.name} <==", ""]
            first = len(self.lines)
            self.facts += [(first + line, question, answer) for line, question, answer in document.facts]
            self.owner += [document.name] * len(document.facts)
            self.lines += document.lines + [""]
        self.starts = [0]  # tokens before each line
        for count in count_tokens(self.lines):
            self.starts.append(self.starts[-1] + count + 1)
        self.fact_lines = [fact[0] for fact in self.facts]

    def window(self, token, size):
        """Lines [begin, end) of at most `size` tokens, beginning near `token`."""
        token = max(0, min(token, self.starts[-1] - size))
        begin = bisect.bisect_left(self.starts, token)
        return begin, max(begin + 1, bisect.bisect_right(self.starts, self.starts[begin] + size) - 1)

    def text(self, begin, end):
        return "\n".join(self.lines[begin:end]).strip("\n")

    def facts_between(self, begin, end):
        """Numbers of the facts whose question is asked once in these lines and whose answer stands there."""
        numbers = range(bisect.bisect_left(self.fact_lines, begin), bisect.bisect_left(self.fact_lines, end))
        asked = Counter(self.facts[n][1] for n in numbers)
        text = sft_sources.spaces(self.text(begin, end))
        return [n for n in numbers if asked[self.facts[n][1]] == 1 and text.count(sft_sources.spaces(self.facts[n][2])) >= 1]


def counter_of(path):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(path)

    def count(texts):
        return [len(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return count


def message(role, content):
    return {"role": role, "content": content}


def turns_of(pairs):
    return [m for question, answer in pairs for m in (message("user", question), message("assistant", answer))]


def reading(rng, stream, begin, end, pairs):
    """A conversation about a text: it stands in the first message."""
    first, *others = [(question + QUOTE, answer) for question, answer in pairs]
    asked = rng.choice(ASK).format(text=stream.text(begin, end), question=first[0])
    return turns_of([(asked, first[1]), *others])


def token_count(count, messages):
    return sum(count([m["content"] for m in messages])) + TURN_TOKENS * len(messages) + SYSTEM_TOKENS


def readings_of(streams, budget, args, rng, count):
    """Texts of 500 tokens up to the context, as many of each doubling, with up to four questions; `budget` tokens."""
    most = args.context - 600  # questions, answers and headers
    made, used = [], 0
    kinds = [kind for kind in KINDS if kind in streams]
    while used < budget:
        stream = streams[rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]]
        size = int(500 * (most / 500) ** rng.random())
        begin, end = stream.window(rng.randrange(stream.starts[-1]), size)
        numbers = stream.facts_between(begin, end)
        if not numbers:
            continue
        numbers = rng.sample(numbers, min(len(numbers), rng.choice([1, 2, 3, 4])))
        messages = reading(rng, stream, begin, end, [stream.facts[n][1:] for n in numbers])
        tokens = token_count(count, messages)
        if tokens <= args.context:
            made.append(messages)
            used += tokens
    return made, used


def test_questions(streams, size, args, rng, known):
    """Answers at depths 0.5/n, 1.5/n, ... of their texts, kinds in turn; `known` are the questions of training."""
    made, kinds = [], [kind for kind in KINDS if kind in streams]
    rng.shuffle(kinds)
    used = set()
    for number in range(args.questions):
        depth = (number * 37 % args.questions + 0.5) / args.questions
        stream = streams[kinds[number % len(kinds)]]
        for _ in range(2000):
            n = rng.randrange(len(stream.facts))
            line, question, answer = stream.facts[n]
            begin, end = stream.window(int(stream.starts[line] - depth * size), size)
            real = (stream.starts[line] - stream.starts[begin]) / max(1, stream.starts[end] - stream.starts[begin])
            if (n not in used and abs(real - depth) < 0.05 and (question, answer) not in known and
                    n in stream.facts_between(begin, end)):
                break
        else:
            continue  # this kind has no question left for this depth
        used.add((kinds[number % len(kinds)], n))
        text = ASK[0].format(text=stream.text(begin, end), question=question + QUOTE)
        made.append({"messages": [message("user", text)], "answers": [answer], "cluster": stream.owner[n],
                     "kind": kinds[number % len(kinds)], "depth": round(real, 3)})
    return made


def unique_dialogues(documents):
    """Dialogues by kind, the first of equal questions only."""
    seen, by_kind = set(), defaultdict(list)
    for document in documents:
        for pairs in document.dialogues:
            key = sft_sources.spaces(pairs[0][0]).lower()
            if key not in seen and all(answer.strip() for _, answer in pairs):
                seen.add(key)
                by_kind[document.name.split("/")[0]].append(turns_of(pairs))
    return by_kind, seen


def training_dialogues(by_kind, args, rng, count):
    """Sources in turn until the tokens are used up: small ones go in whole."""
    pools = {name: rng.sample(items, len(items)) for name, items in sorted(by_kind.items())}
    made, used, of_source = [], 0, Counter()
    while used < args.dialogue_tokens and any(pools.values()):
        for name, pool in pools.items():
            if not pool:
                continue
            messages = pool.pop()
            tokens = token_count(count, messages)
            if tokens <= args.context:
                made.append(messages)
                used += tokens
                of_source[name] += 1
    return made, used, dict(of_source)


def write(path, items):
    """JSON lines, compressed by zstd; the plain file is not kept."""
    plain = path.with_suffix("")
    with open(plain, "w") as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n")
    subprocess.run(["zstd", "-q", "-15", "--long=27", "-f", "--rm", str(plain), "-o", str(path)], check=True)
    return path.stat().st_size


def lengths_table(count, conversations):
    """Conversations by power of two of their tokens."""
    table = Counter()
    for item in conversations:
        messages = item["messages"] if isinstance(item, dict) else item
        table[1 << (token_count(count, messages) - 1).bit_length()] += 1
    return {f"<= {size}": table[size] for size in sorted(table)}


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    count = counter_of(args.tokenizer)
    versions = fetch_packages(args.packages)
    documents = sft_sources.all_documents(args.packages)
    sides = {False: [], True: []}
    for document in documents:
        sides[is_test(document, args)].append(document)
    rng = random.Random(args.seed)

    streams = {}
    for test in (False, True):
        by_kind = defaultdict(list)
        for document in sides[test]:
            by_kind[document.kind].append(document)
        streams[test] = {kind: Stream(rng.sample(items, len(items)), count) for kind, items in sorted(by_kind.items())}
    known = {(question, answer) for document in sides[False] for _, question, answer in document.facts}

    train_dialogues, seen = unique_dialogues(sides[False])
    test_dialogues, _ = unique_dialogues(sides[True])
    dialogues, dialogue_tokens, of_source = training_dialogues(train_dialogues, args, rng, count)
    readings, reading_tokens = readings_of(streams[False], args.text_tokens, args, rng, count)
    test_readings, _ = readings_of(streams[True], args.heldout_text_tokens, args, rng, count)
    fresh = {name: [m for m in items if sft_sources.spaces(m[0]["content"]).lower() not in seen]
             for name, items in test_dialogues.items()}
    heldout, _, heldout_of = training_dialogues(fresh, argparse.Namespace(**{**vars(args), "dialogue_tokens": 1e12}), rng, count)
    heldout = heldout[:args.heldout]
    train = dialogues + readings
    rng.shuffle(train)

    files = {"train.jsonl.zst": write(args.out / "train.jsonl.zst", [{"messages": m} for m in train]),
             "heldout.jsonl.zst": write(args.out / "heldout.jsonl.zst", [{"messages": m} for m in heldout]),
             "readings.jsonl.zst": write(args.out / "readings.jsonl.zst", [{"messages": m} for m in test_readings])}
    figures = dict(packages=versions, options={k: str(v) for k, v in vars(args).items() if k not in ("packages", "out", "tokenizer")},
                   documents=dict(train=len(sides[False]), test=len(sides[True])),
                   train=dict(conversations=len(train), dialogues=len(dialogues), dialogue_tokens=dialogue_tokens,
                              dialogues_by_source=of_source, readings=len(readings), reading_tokens=reading_tokens,
                              lengths=lengths_table(count, train)),
                   heldout=dict(dialogues=len(heldout), lengths=lengths_table(count, heldout)),
                   readings=dict(readings=len(test_readings), lengths=lengths_table(count, test_readings)))
    for size in map(int, args.lengths.split(",")):
        questions = test_questions(streams[True], size, args, rng, known)
        name = f"questions_{size}.jsonl.zst"
        files[name] = write(args.out / name, questions)
        figures[name] = dict(questions=len(questions), kinds=dict(Counter(q["kind"] for q in questions)),
                             lengths=lengths_table(count, questions))
    figures["bytes"] = files
    text = json.dumps(figures, indent=1) + "\n"
    (args.out / "figures.json").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
