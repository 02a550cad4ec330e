"""Documentation packages of Debian, read as documents with facts and as questions with answers.

A Document is a text of lines with facts: `facts[i] = (line, question, answer)`, the answer a sentence that stands in the
text at or soon after that line. `dialogues` are conversations on their own: lists of (question, answer) turns.
"""
import gzip
import html.parser
import pathlib
import re
import subprocess
from dataclasses import dataclass, field

PACKAGES = ["anarchism", "debian-faq", "debian-reference-en", "dict-foldoc", "dict-gcide", "dict-jargon", "git-doc",
            "perl-doc", "python3.11-doc"]
LONGEST_ANSWER = 6000  # characters of an answer of a FAQ; whole paragraphs are left out beyond


@dataclass
class Document:
    name: str
    kind: str
    lines: list = field(default_factory=list)
    facts: list = field(default_factory=list)
    dialogues: list = field(default_factory=list)


def read(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix in (".gz", ".dz") else data
    return data.decode("utf-8", "replace").replace("\xa0", " ").replace("\r", "")


def spaces(text):
    return " ".join(text.split())


def first_sentence(text, least=16, most=240):
    """The first sentence as it stands in the text, or None where it is no useful answer."""
    text = spaces(text)
    match = re.match(r".*?(?<!esp)(?<!e\.g)(?<!i\.e)(?<! vs)(?<!etc)[.!?](?=\s|$)", text)
    sentence = match.group(0) if match else text
    return sentence if least <= len(sentence) <= most and " " in sentence else None


def whole_paragraphs(text, most=LONGEST_ANSWER):
    kept, size = [], 0
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if kept and size + len(paragraph) > most:
            break
        kept.append(paragraph.rstrip())
        size += len(paragraph) + 2
    return "\n\n".join(kept)[:most]


# --- dictionaries ---------------------------------------------------------------------------------------------------

def dictionary_entries(text):
    """(head line, body) of a dict file: heads begin at the left, bodies are indented."""
    head, body = [], []
    for line in text.splitlines():
        if line and not line[0].isspace():
            if any(body):
                yield " / ".join(head), "\n".join(body)
                head, body = [], []
            head.append(line.strip())
        elif head:
            body.append(line.rstrip())
    if any(body):
        yield " / ".join(head), "\n".join(body)


def dictionary(root, name, kind, entry, block=150):
    """Documents of `block` neighbouring entries; `entry(head, body)` gives (word, shown lines, facts, turns) or None."""
    (path,) = root.glob(f"usr/share/dictd/{name}.dict.dz")
    entries = [e for e in (entry(h, b) for h, b in dictionary_entries(read(path))) if e]
    for number in range(0, len(entries), block):
        document = Document(f"{name}/{number // block}", kind)
        for word, lines, facts, turns in entries[number:number + block]:
            document.facts += [(len(document.lines), question, answer) for question, answer in facts]
            document.lines += lines + [""]
            if turns:
                document.dialogues.append(turns)
        yield document


WORD_CLASS = {"n.": "noun", "a.": "adjective", "adv.": "adverb", "v. t.": "transitive verb", "v. i.": "intransitive verb"}


def gcide_entry(head, body):
    match = re.match(r"([A-Za-z][a-z' -]+?) \\.*?\\,? *((?:v\. [ti]\.|n\.|a\.|adv\.)?)", head)
    if not match:
        return None
    word, kind = match.group(1), WORD_CLASS.get(match.group(2), "")
    body = re.sub(r"\[(1913 Webster|WordNet[^]]*|PJC|Webster[^]]*|Century[^]]*)[^]]*\]", "", body).replace("{", "").replace("}", "")
    if "[" in head.rpartition("]")[2]:  # the origin of the word goes on into the body
        body = body.partition("]")[2]
    paragraphs = [spaces(p) for p in re.split(r"\n\s*\n", body)]
    paragraphs = [re.sub(r"^1\. ", "", p) for p in paragraphs if p]
    if not paragraphs or not kind:
        return None
    meaning = re.sub(r"\s*--[A-Z][^-]*$", "", paragraphs[0])
    if not 20 <= len(meaning) <= 700:
        return None
    turns = [(f"What does the word \"{word}\" mean as {article(kind)}?", meaning)]
    synonyms = next((p[5:] for p in paragraphs if p.startswith("Syn: ") and len(p) < 300), None)
    if synonyms:
        turns.append((f"Which words mean nearly the same as \"{word}\"?", synonyms))
    sentence = first_sentence(meaning)
    facts = [(f"How does this text define \"{word}\" ({kind})?", sentence)] if sentence else []
    return word, [f"{word} ({kind}): {p}" if i == 0 else p for i, p in enumerate([meaning] + paragraphs[1:2])], facts, turns


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def computing_entry(head, body):
    word = head.split(" / ")[0]
    body = body.replace("{", "").replace("}", "")
    body = re.sub(r"\n\s*\(\d{4}-\d\d-\d\d\)\s*$", "", body.rstrip())
    body = "\n".join(line[3:] if line.startswith("   ") else line for line in body.strip("\n").splitlines())
    if not 2 <= len(word) <= 40 or len(body) < 40:
        return None
    sentence = first_sentence(re.sub(r"^(<[^>]*>\s*)?(\([A-Za-z0-9 ,;\"-]*\)\s*)?", "", spaces(body.split("\n\n")[0])))
    facts = [(f"What does this text say that \"{word}\" is?", sentence)] if sentence else []
    return word, [f"{word}:", *body.splitlines()], facts, [(f"What is \"{word}\" in computing?", whole_paragraphs(body, 1500))]


def jargon_entry(head, body):
    word = head.split(" / ")[0]
    lines = [line[4:] if line.startswith("    ") else line for line in body.replace("{", "").replace("}", "").splitlines()]
    grammar, *rest = lines
    text = "\n".join(rest).strip("\n")
    if not 2 <= len(word) <= 40 or len(text) < 40 or len(grammar) > 60:
        return None
    sentence = first_sentence(re.sub(r"^(\[[^]]*\]\s*)+", "", spaces(text)))
    facts = [(f"What does this text say about the hacker slang \"{word}\"?", sentence)] if sentence else []
    return word, [f"{word} ({spaces(grammar)})", *rest], facts, [(f"What do hackers mean by \"{word}\"?", whole_paragraphs(text, 1500))]


# --- Perl -----------------------------------------------------------------------------------------------------------

def pod_text(text):
    """Paragraphs of POD without its codes."""
    for _ in range(3):  # codes may be nested
        text = re.sub(r"L<([^<>|]*\|)?([^<>]*)>", lambda m: (m.group(1) or m.group(2)).rstrip("|"), text)
        text = re.sub(r"[BCFISX]<{2,} ?(.*?) ?>{2,}", r"\1", text, flags=re.S)
        text = re.sub(r"[BCFISXZ]<([^<>]*)>", r"\1", text)
    for name, value in (("gt", ">"), ("lt", "<"), ("verbar", "|"), ("sol", "/")):
        text = text.replace(f"E<{name}>", value)
    return text


def perl(root):
    for path in sorted(root.glob("usr/share/perl/*/pod/*.pod")):
        text = pod_text(read(path))
        document = Document(f"perl/{path.stem}", "perl")
        blocks = re.split(r"\n\s*\n", text)
        for block, after in zip(blocks, blocks[1:] + [""]):
            match = re.match(r"=(head\d|item|\w+)[ \t]*(.*)", block, re.S)
            if match and match.group(1) == "item" and len(match.group(2)) < 80:
                name = spaces(match.group(2))
                answer = None if after.startswith(("=", " ", "\t")) else first_sentence(after)
                if answer and re.search(r"[A-Za-z]{2}|[-$@%]\w", name):
                    document.facts.append((len(document.lines), f"What does this text say about `{name}`?", answer))
                document.lines += [name, ""]
            elif match:
                if match.group(1).startswith("head"):
                    document.lines += ["#" * int(match.group(1)[4:]) + " " + spaces(match.group(2)), ""]
            elif block.strip():
                document.lines += [*block.strip("\n").splitlines(), ""]
        if "perlfaq" in path.stem:
            for question, answer in re.findall(r"^=head2 (.+?)\n\n(.*?)(?=^=head|\Z)", text, re.S | re.M):
                answer = whole_paragraphs(re.sub(r"^=.*\n", "", answer, flags=re.M))
                document.dialogues.append([(spaces(question), answer)])
        yield document


# --- Python ---------------------------------------------------------------------------------------------------------

def rst_text(text):
    text = re.sub(r":[a-z:+-]+:`[!~]?([^`<]*?)\s*(?:<[^`>]*>)?`", r"\1", text)
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    return re.sub(r"^\.\. (index|_|versionadded|sectionauthor|moduleauthor|highlight|only|toctree).*\n(?:[ \t]+\S.*\n)*", "", text, flags=re.M)


def python(root):
    base = next(root.glob("usr/share/doc/python3*/html/_sources"))
    for path in sorted(base.glob("**/*.rst.txt")):
        text = rst_text(read(path))
        document = Document(f"python/{path.relative_to(base)}", "python", text.splitlines())
        for number, line in enumerate(document.lines):
            match = re.match(r"\s*\.\. (?:function|method|classmethod|data|attribute|exception|class|option|opcode)::\s*(\S.*)", line)
            if not match:
                continue
            paragraph = re.match(r"(?:\s*\n)+((?:[ \t]+\S.*\n?)+)", "\n".join([""] + document.lines[number + 1:number + 12]))
            name = re.split(r"[(\s]", match.group(1))[0]
            answer = first_sentence(paragraph.group(1)) if paragraph else None
            if answer and not answer.startswith(("..", ":")):
                document.facts.append((number, f"What does this text say about `{name}`?", answer))
        if path.parent.name == "faq":
            parts = re.split(r"^(.+)\n(?:-{4,}|={4,})\n", text, flags=re.M)
            for heading, answer in zip(parts[1::2], parts[2::2]):
                if heading.endswith("?"):
                    document.dialogues.append([(spaces(heading), whole_paragraphs(answer))])
        yield document


# --- git, package records, essays -----------------------------------------------------------------------------------

def git(root):
    for path in sorted(root.glob("usr/share/doc/git-doc/**/*.txt")):
        if "RelNotes" in path.parts:
            continue
        text = re.sub(r"^(include::|ifdef::|ifndef::|endif::|\+$).*\n", "", read(path), flags=re.M)
        text = re.sub(r"linkgit:([\w-]+)\[(\d)\]", r"\1(\2)", text)
        document = Document(f"git/{path.name}", "git", text.splitlines())
        for number, line in enumerate(document.lines):
            match = re.match(r"(\S.{0,60}?)::$", line)
            paragraph = re.match(r"((?:[ \t]+\S.*\n?)+)", "\n".join(document.lines[number + 1:number + 10]))
            answer = first_sentence(paragraph.group(1)) if match and paragraph else None
            if answer:
                document.facts.append((number, f"What does this text say about `{match.group(1)}`?", answer))
        yield document


def package_records(block=120):
    """What apt knows of every package, as records of a few fields."""
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    records = {}
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Section|Homepage|Description): (.*)$", paragraph, re.M))
        if {"Package", "Section", "Description"} <= fields.keys() and len(fields["Description"]) > 15:
            records.setdefault(fields["Package"], fields)
    names = sorted(records)
    for number in range(0, len(names), block):
        document = Document(f"packages/{number // block}", "packages")
        for name in names[number:number + block]:
            fields = records[name]
            shown = [f"{key}: {fields[key]}" for key in ("Package", "Section", "Homepage", "Description") if key in fields]
            line = len(document.lines)
            facts = [(f"What is the description of the package {name}?", fields["Description"]),
                     (f"Which package is described as \"{fields['Description']}\"?", name),
                     (f"Which section is the package {name} in?", fields["Section"]),
                     (f"What is the homepage of the package {name}?", fields.get("Homepage"))]
            facts = [(question, answer) for question, answer in facts if answer]
            document.facts += [(line, question, answer) for question, answer in facts]
            document.lines += shown + [""]
            question, answer = facts[0]
            document.dialogues.append([("\n".join(shown) + "\n\n" + question, answer)] + facts[2:])
        yield document


class HtmlText(html.parser.HTMLParser):
    """Headings marked with a leading \\x01, blocks as paragraphs."""

    def __init__(self):
        super().__init__()
        self.parts, self.hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style", "head")
        if re.fullmatch(r"h[1-6]", tag):
            self.parts.append("\n\n\x01")
        elif tag in ("p", "div", "ul", "ol", "dl", "pre", "table", "dt"):
            self.parts.append("\n\n")
        elif tag in ("li", "br", "tr", "dd"):
            self.parts.append("\n- " if tag == "li" else "\n")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style", "head")
        if re.fullmatch(r"h[1-6]|p|pre|div", tag):
            self.parts.append("\n\n")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data)


def debian_faq(root):
    for path in sorted(root.glob("usr/share/doc/debian/FAQ/*.en.html")):
        parser = HtmlText()
        parser.feed(read(path))
        document = Document(f"debian-faq/{path.stem}", "debian")
        text = "".join(parser.parts)
        for heading, answer in re.findall(r"\x01([^\x01\n][^\x01]*?)\n\n(.*?)(?=\x01|\Z)", text, re.S):
            question = re.sub(r"^[\d.]+\s*", "", spaces(heading))
            paragraphs = [re.sub(r"[ \t]*\n(?!- )[ \t]*", " ", p).strip() for p in re.split(r"\n\s*\n", answer)]
            body = "\n\n".join(p for p in paragraphs if p)
            if question.endswith("?") and len(body) > 40:
                document.dialogues.append([(question, whole_paragraphs(body))])
            document.lines += [question, "", *body.splitlines(), ""]
        yield document


def essays(root):
    """Long texts without facts of their own; An Anarchist FAQ has questions as headings."""
    for path in sorted(root.glob("usr/share/doc/anarchism/markdown/sec*.md.gz")):
        text = re.sub(r"[*_]{1,2}", "", read(path))
        document = Document(f"anarchism/{path.name}", "essays", text.splitlines())
        for section in re.split(r"^#+ ", text, flags=re.M)[1:]:
            heading, _, answer = section.partition("\n\n")
            question = re.sub(r"^[A-Z][\d.]+ ", "", spaces(heading))
            if question.endswith("?") and len(heading) < 200 and len(answer) > 200:
                document.dialogues.append([(question, whole_paragraphs(answer.strip(), 3000))])
        yield document
    for path in root.glob("usr/share/debian-reference/debian-reference.en.txt.gz"):
        for number, part in enumerate(re.split(r"\n(?=Chapter \d+\. )", read(path))):
            yield Document(f"debian-reference/{number}", "debian", part.splitlines())


def following_lines(document, step=9):
    """For texts without facts: a line is asked for by the one before it."""
    lines = document.lines
    plain = lambda s: 40 <= len(s.strip()) <= 160 and re.search(r"[a-z]{4}", s)
    for number in range(0, len(lines) - 1, step):
        if plain(lines[number]) and plain(lines[number + 1]):
            document.facts.append((number, f"Which line of this text follows the line \"{lines[number].strip()}\"?",
                                   lines[number + 1].strip()))


def all_documents(root):
    documents = [*dictionary(root, "gcide", "words", gcide_entry),
                 *dictionary(root, "foldoc", "computing", computing_entry),
                 *dictionary(root, "jargon", "computing", jargon_entry),
                 *perl(root), *python(root), *git(root), *package_records(), *debian_faq(root), *essays(root)]
    for document in documents:
        if not document.facts:
            following_lines(document)
    return documents
