"""Check that every relative link in the project's Markdown files leads to something that exists.

Reads every ``.md`` file of the tree, hidden folders and build outputs left out. Prints one line
per broken link and exits 1 if there is any. Opens no connection: links to other hosts are not
followed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
#: Folders without prose of ours.
LEFT_OUT = {"build", "dist", "node_modules"}
FENCE = re.compile(r"^\s*(```|~~~)")
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")


def markdown_files() -> Iterator[Path]:
    """Yield every Markdown file of the tree."""
    for path in sorted(ROOT.rglob("*.md")):
        parts = path.relative_to(ROOT).parts
        if not any(part in LEFT_OUT or part.startswith(".") for part in parts):
            yield path


def prose_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a file that are no part of a code block."""
    is_code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            yield number, line


def to_anchor(heading: str) -> str:
    """Return the anchor that a heading gets: lower case, no punctuation, hyphens for spaces."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return all anchors of a file; a heading that comes again gets a number."""
    found: set[str] = set()
    for _, line in prose_lines(path):
        found.update(ANCHOR.findall(line))
        if heading := HEADING.match(line):
            anchor, count = to_anchor(heading[1]), 0
            while (numbered := f"{anchor}-{count}" if count else anchor) in found:
                count += 1
            found.add(numbered)
    return frozenset(found)


def reason_broken(source: Path, link: str) -> str | None:
    """Return why the link leads nowhere, or ``None`` if it leads somewhere."""
    if re.match(r"[a-zA-Z][a-zA-Z+.-]*:", link):
        return None
    name, _, anchor = unquote(link).partition("#")
    base = ROOT if name.startswith("/") else source.parent
    target = (base / name.lstrip("/")).resolve() if name else source
    if not target.exists():
        return "no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return "no such heading"
    return None


def broken_links() -> Iterator[str]:
    """Yield one line for every link that leads nowhere."""
    for path in markdown_files():
        for number, line in prose_lines(path):
            for link in LINK.findall(CODE.sub("", line)):
                if reason := reason_broken(path, link):
                    yield f"{path.relative_to(ROOT)}:{number}: {link}: {reason}"


def main() -> int:
    """Print what is broken; return the exit status."""
    broken = list(broken_links())
    print("\n".join(broken) or "all links lead somewhere")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
