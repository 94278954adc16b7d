"""The Markdown files of this repository: their fenced blocks and their tables."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
DISTRIBUTIONS: Final = sorted(path.parent for path in ROOT.glob("corail-storage-*/pyproject.toml"))
DOCUMENTS: Final = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *(folder / "README.md" for folder in DISTRIBUTIONS),
]

_BLOCK: Final = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME: Final = re.compile(r"# (?P<name>[\w./-]+\.(?:py|toml))\n")


class Block(NamedTuple):
    """One fenced block."""

    document: Path
    line: int
    language: str
    text: str
    name: str | None
    """The file it is to be saved as, when it begins with a comment that names one."""
    expected: str | None
    """What it prints, when the word "prints" and a block of text follow."""

    @property
    def place(self) -> str:
        """The document and the line, for the name of a test."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of these languages in every document."""
    return [block for document in DOCUMENTS for block in _blocks(document) if block.language in languages]


def saved_before(block: Block) -> list[Block]:
    """Return the blocks of the same document that are files by the time ``block`` is read."""
    return [other for other in _blocks(block.document) if other.name is not None and other.line <= block.line]


def table(document: Path, heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, without its head."""
    text = document.read_text("utf-8")
    _, found, section = text.partition(f"# {heading}\n")
    assert found, f"{document.name} has no heading {heading!r}"
    rows: list[list[str]] = []
    for line in section.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    assert rows, f"{document.name} has no table under {heading!r}"
    return rows[2:]


def code(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def _blocks(document: Path) -> Iterator[Block]:
    text = document.read_text("utf-8")
    found = list(_BLOCK.finditer(text))
    for match, following in zip_longest(found, found[1:]):
        name = _NAME.match(match["text"])
        expected = None
        if following is not None and following["language"] == "text":
            between = text[match.end() : following.start()].strip()
            if between.startswith("prints") and "\n\n" not in between:
                expected = following["text"]
        yield Block(
            document,
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            match["text"],
            None if name is None else name["name"],
            expected,
        )
