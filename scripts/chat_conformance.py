#!/usr/bin/env python3
"""Chat templates: Pivot's renders and masks against transformers', byte for byte.

    scripts/chat_conformance.py --pivot build/pivot [--templates DIR ...] [--tokenizers DIR ...] [--count N]

Renders random conversations (systems, several turns, Unicode, empty and padded contents, tools, calls and their
results, reasoning) with every template: *.jinja files of the directories, chat_template of tokenizer_config.json files
and the built-in ones. Compared with transformers: the text, whether the template refuses, and, where a template has
{% generation %}, what is learnt; with --tokenizers also ids and masks of apply_chat_template. Needs transformers.
Exit status 1 if anything differs.
"""

import argparse
import datetime
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

WORDS = ["hello", "world", "Größe", "naïve", "日本語", "🙂👩‍👩‍👧", "a\n\nb", "  indented", "tab\there", "'quoted'", '"double"', "<b>&amp;",
         "{{ x }}", "{% if %}", "\\n", "x" * 40, "مرحبا", "e\u0301", "\u00a0nbsp", "1234", "end. ", "ﬁ", "ß", "İ"]
# Spellings of control tokens inside contents are text to a template.
CONTROL = ["<|im_end|>", "</s>", "<|eot_id|>", "[INST]", "<think>"]
EDGES = ["", " ", "\n", "\n\n", "  ", "\t"]
TYPES = ["string", "integer", "number", "boolean", "array", "object"]


def text(rng):
    parts = rng.choices(WORDS, k=rng.randint(1, 8))
    if rng.random() < 0.08:
        parts.insert(rng.randint(0, len(parts)), rng.choice(CONTROL))
    inner = rng.choice([" ", "\n", ""]).join(parts)
    if rng.random() < 0.06:
        inner = ""
    edge = (lambda: rng.choice(EDGES) if rng.random() < 0.25 else "")
    return edge() + inner + edge()


def schema(rng, depth=0):
    kind = rng.choice(TYPES if depth < 2 else TYPES[:4])
    out = {"type": kind}
    if rng.random() < 0.7:
        out["description"] = text(rng)
    if kind == "string" and rng.random() < 0.3:
        out["enum"] = ["a", "b", "ü"]
    if kind == "array":
        out["items"] = schema(rng, depth + 1)
    if kind == "object":
        out["properties"] = {f"p{i}": schema(rng, depth + 1) for i in range(rng.randint(0, 3))}
        out["required"] = list(out["properties"])[:1]
    if kind in ("integer", "number") and rng.random() < 0.3:
        out["default"] = rng.choice([0, 1.5, 1e-7, 1e22, -3, 12345678901234567890])
    return out


def tools(rng):
    count = rng.randint(1, 3)
    return [{"type": "function", "function": {
        "name": f"tool_{i}", "description": text(rng) or "d",
        "parameters": {"type": "object", "properties": {f"arg{j}": schema(rng) for j in range(rng.randint(0, 3))},
                       "required": []}}} for i in range(count)]


def call(rng, number):
    arguments = {f"arg{j}": rng.choice([text(rng), 7, 1.5, True, None, [1, "x"], {"k": text(rng)}])
                 for j in range(rng.randint(0, 3))}
    return {"type": "function", "id": f"call{number:05d}",
            "function": {"name": f"tool_{rng.randint(0, 2)}", "arguments": arguments}}


def answer(rng):
    message = {"role": "assistant", "content": text(rng)}
    roll = rng.random()
    if roll < 0.15:
        message["content"] = f"<think>\n{text(rng)}\n</think>\n\n{message['content']}"
    elif roll < 0.25:
        message["reasoning_content"] = text(rng)
    return message


def turns_with_tools(rng, number):
    calls = [call(rng, number + i) for i in range(rng.choice([1, 1, 1, 2]))]
    said = {"role": "assistant", "tool_calls": calls}
    if rng.random() < 0.5:
        said["content"] = rng.choice(["", text(rng)])
    results = [{"role": "tool", "name": c["function"]["name"], "tool_call_id": c["id"], "content": text(rng)} for c in calls]
    return [said] + results


def conversation(rng):
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": text(rng)})
    uses_tools = rng.random() < 0.3
    for turn in range(rng.randint(1, 4)):
        messages.append({"role": "user", "content": text(rng)})
        if uses_tools and rng.random() < 0.6:
            messages += turns_with_tools(rng, turn * 10)
        messages.append(answer(rng))
    if rng.random() < 0.2:
        messages.pop()
    if rng.random() < 0.06:
        rng.shuffle(messages)
    out = {"messages": messages}
    if uses_tools:
        out["tools"] = tools(rng)
    return out


class Reference:
    """transformers' renderer with the clock that Pivot shows templates."""

    def __init__(self):
        from transformers.utils import chat_template_utils as utils
        self.utils = utils

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(1970, 1, 1)
        utils.datetime = Clock

    def render(self, source, talk, variables, prompt):
        messages = self.utils._normalize_chat_messages(talk["messages"])
        mask = re.search(r"\{%-?\s*generation\s*-?%\}", source) is not None and not prompt
        try:
            rendered, indices = self.utils.render_jinja_template(
                [messages], tools=talk.get("tools"), chat_template=source, add_generation_prompt=prompt,
                return_assistant_tokens_mask=mask, **variables)
        except Exception as error:  # a template's refusal, or an error in it
            return None, None, error
        spans = None
        if mask:
            spans = [[len(rendered[0][:a].encode()), len(rendered[0][:b].encode())] for a, b in indices[0] if b > a]
        return rendered[0], spans, None


def run_pivot(pivot, talks, flags):
    command = [pivot, "data", "render", "--json", "--input", str(talks)] + flags
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        return None, done.stderr.decode(errors="replace").strip()
    return [json.loads(line) for line in done.stdout.splitlines()], None


def merged(spans):
    out = []
    for begin, end in spans:
        if out and out[-1][1] == begin:
            out[-1][1] = end
        else:
            out.append([begin, end])
    return out


def check_template(args, reference, name, source, talks, path, counts, flags, variables):
    problems = []
    for prompt in (False, True):
        more = ["--add-generation-prompt", "true"] if prompt else []
        ours, refusal = run_pivot(args.pivot, path, flags + more)
        if ours is None:
            counts["templates refused"] += 1
            return [f"{name}: refused: {refusal}"] if args.strict else print(f"refused  {name}: {refusal}") or []
        assert len(ours) == len(talks), (name, len(ours), len(talks))
        for talk, mine in zip(talks, ours):
            wanted, spans, error = reference.render(source, talk, variables, prompt)
            counts["renders"] += 1
            counts["refused by both"] += error is not None and "error" in mine
            where = f"{name} line {mine['line']}{' +prompt' if prompt else ''}"
            if (error is None) != ("error" not in mine):
                problems.append(f"{where}: transformers {error!r}, pivot {mine.get('error', 'renders')}")
            elif error is None and mine["text"] != wanted:
                problems.append(f"{where}: text differs\n  transformers {wanted!r}\n  pivot        {mine['text']!r}")
            elif spans is not None:
                counts["masks"] += 1
                if merged(spans) != merged(mine["learnt"]):
                    problems.append(f"{where}: learnt differs: transformers {spans}, pivot {mine['learnt']}, {wanted!r}")
    counts["templates"] += 1
    return problems


def check_tokenizer(args, directory, talks, path, counts):
    """Ids and masks of apply_chat_template with the model's own tokenizer, on a template with {% generation %}."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(directory)
    source = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}{% generation %}"
              "{{ (m.content or '') + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}{% else %}{{ m.content + '<|im_end|>\\n' }}"
              "{% endif %}{% endfor %}")
    problems = []
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
        file.write(source)
        file.flush()
        ours, refusal = run_pivot(args.pivot, path, ["--tokenizer", directory, "--template", file.name, "--ids", "true"])
    if ours is None:
        return [f"{directory}: {refusal}"]
    for talk, mine in zip(talks, ours):
        try:
            wanted = tokenizer.apply_chat_template(talk["messages"], chat_template=source, return_dict=True,
                                                   return_assistant_tokens_mask=True)
        except Exception as error:
            if "error" not in mine:
                problems.append(f"{directory} line {mine['line']}: transformers {error!r}")
            continue
        counts["encodings"] += 1
        if mine.get("ids") != list(wanted["input_ids"]):
            problems.append(f"{directory} line {mine['line']}: ids differ: {mine.get('error')}")
        elif mine["mask"] != list(wanted["assistant_masks"]):
            problems.append(f"{directory} line {mine['line']}: masks differ")
    return problems


def templates_of(directories):
    for directory in map(pathlib.Path, directories):
        for file in sorted(directory.rglob("*")):
            if file.suffix == ".jinja":
                yield file.stem, file.read_bytes().decode()
            elif file.name == "tokenizer_config.json":
                source = json.loads(file.read_text(encoding="utf-8")).get("chat_template")
                if isinstance(source, str):
                    yield str(file.parent.name), source


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pivot", default="build/pivot")
    parser.add_argument("--templates", nargs="*", default=[], help="directories of *.jinja and tokenizer_config.json files")
    parser.add_argument("--tokenizers", nargs="*", default=[], help="directories with tokenizer.json: ids and masks, too")
    parser.add_argument("--builtin", nargs="*", default=[], metavar="NAME=FILE",
                        help="a built-in template and the model's own, which must render alike")
    parser.add_argument("--count", type=int, default=60, help="conversations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strict", action="store_true", help="a template that Pivot refuses to read is a difference")
    parser.add_argument("--show", type=int, default=10, help="differences printed of each template")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    talks = [conversation(rng) for _ in range(args.count)]
    reference = Reference()
    variables = {"bos_token": "<s>", "eos_token": "</s>"}
    counts = dict.fromkeys(["templates", "templates refused", "renders", "refused by both", "masks", "encodings"], 0)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "talks.jsonl"
        path.write_text("".join(json.dumps(t, ensure_ascii=False) + "\n" for t in talks), encoding="utf-8")

        def report(problems):
            print("\n".join(problems[:args.show]), end="\n" if problems else "")
            return len(problems)

        for name, source in templates_of(args.templates):
            file = pathlib.Path(scratch) / "template.jinja"
            file.write_bytes(source.encode())
            failed += report(check_template(args, reference, name, source, talks, path, counts,
                                            ["--tokenizer", "bytes", "--template", str(file)], variables))
        for pair in args.builtin:
            name, file = pair.split("=", 1)
            source = pathlib.Path(file).read_text(encoding="utf-8")
            plain = [t for t in talks if "tools" not in t]
            plain_path = pathlib.Path(scratch) / "plain.jsonl"
            plain_path.write_text("".join(json.dumps(t, ensure_ascii=False) + "\n" for t in plain), encoding="utf-8")
            failed += report(check_template(args, reference, f"built-in {name}", source, plain, plain_path, counts,
                                            ["--tokenizer", "bytes", "--template", name], variables))
        for directory in args.tokenizers:
            failed += report(check_tokenizer(args, directory, talks, path, counts))
    print(", ".join(f"{n} {what}" for what, n in counts.items()) + f", {failed} differences")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
