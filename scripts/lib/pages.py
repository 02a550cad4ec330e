"""Pages that people write and scripts fill."""
import pathlib
import sys


def between_marks(page, name, text):
    """Puts `text` between <!-- NAME --> and <!-- /NAME --> of a Markdown file."""
    path = pathlib.Path(page)
    old = path.read_text()
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in old or end not in old:
        sys.exit(f"{page}: the marks {begin} and {end} are missing")
    head, rest = old.split(begin, 1)
    path.write_text(head + begin + "\n" + text.strip("\n") + "\n" + end + rest.split(end, 1)[1])
