"""Copy what a complete run measured into the documents; nothing here measures.

::

    make bench && .venv/bin/python -m benchmarks.publish

Reads ``results/`` and writes between the markers of docs/performance.md and README.md, and the charts into
docs/. The results of the peers are written too, where there are any.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import report
from benchmarks.contenders import ROOT
from benchmarks.run import RESULTS
from benchmarks.targets import PEER_TARGETS, TARGETS, Target

_END: Final = "<!-- end -->"
_SHORT: Final = ("", "work", "ours", "against", "ratio")


class Place(NamedTuple):
    """Where the results of one program go."""

    name: str
    """Of its files in ``results/``."""
    target: str
    """Of the Makefile, as the markers have it."""
    about: str
    """What its chart shows, for those who cannot see it."""
    targets: Sequence[Target]
    """Whose figures a complete run has."""


PLACES: Final = (
    Place("bench", "bench", "Operations per second, by those of raw asyncpg", TARGETS),
    Place("peers", "bench-peers", "Operations per second of agent libraries", PEER_TARGETS),
)


class NotPublishableError(Exception):
    """The results are not those of a complete run, or a document has no place for them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    options = parser().parse_args(arguments)
    try:
        written = publish(options.results, ROOT)
    except NotPublishableError as error:
        sys.stderr.write(f"Nothing is written: {error}\n")
        return 1
    sys.stdout.write(f"Written: {', '.join(str(path.relative_to(ROOT)) for path in written)}\n")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument(
        "--results", type=Path, default=RESULTS, metavar="FOLDER", help="where they are read"
    )
    return options


def publish(results: Path, root: Path) -> list[Path]:
    """Write the documents under ``root`` and return what was written; all of it, or nothing.

    Raises ``NotPublishableError`` for results that are missing or partial, and for a document without
    markers.
    """
    documents: dict[Path, str] = {}
    charts: dict[Path, Path] = {}
    for place in PLACES:
        if place.name != "bench" and not (results / f"{place.name}.json").exists():
            continue
        run = _complete(results / f"{place.name}.json", place)
        chart = f"![{place.about}]({{folder}}{place.name}.svg)\n\n"
        text = (results / f"{place.name}.md").read_text("utf-8")
        parts = {root / "docs" / "performance.md": chart.format(folder="") + text.strip()}
        if place.name == "bench":
            parts[root / "README.md"] = chart.format(folder="docs/") + _short(run).strip()
        for path, part in parts.items():
            documents[path] = _replaced(path, documents.get(path), f"make {place.target}", part)
        charts[root / "docs" / f"{place.name}.svg"] = results / f"{place.name}.svg"
    for path, content in documents.items():
        path.write_text(content, encoding="utf-8")
    for path, chart_path in charts.items():
        shutil.copyfile(chart_path, path)
    return [*documents, *charts]


def _complete(path: Path, place: Place) -> dict[str, Any]:
    if not path.exists():
        raise NotPublishableError(f"{path.name} is missing; `make {place.target}` makes it.")
    run: dict[str, Any] = json.loads(path.read_text("utf-8"))
    again = f"Run `make {place.target}` without further arguments."
    if not run.get("complete") or run.get("crash") is None:
        raise NotPublishableError(f"{path.name} is of a partial run. {again}")
    missing = [one.key for one in place.targets if one.key not in run["figures"]]
    if missing:
        raise NotPublishableError(f"{path.name} lacks {', '.join(missing)}. {again}")
    return run


def _short(run: Mapping[str, Any]) -> str:
    rows = [row[: len(_SHORT)] for row in report.work_rows(run["comparisons"])]
    table = report.markdown(_SHORT, [row for row in rows if row[0] not in ("", "W3tail")])
    return f"{report.conditions(run)}\n{table}"


def _replaced(path: Path, text: str | None, command: str, part: str) -> str:
    """Return the document with what stands between its markers exchanged."""
    marker = f"<!-- begin: written by `{command}` -->"
    head, begin, rest = (path.read_text("utf-8") if text is None else text).partition(marker)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise NotPublishableError(f"{path.name} has no place for it: {marker} and {_END} are missing.")
    return f"{head}{begin}\n\n{part}\n\n{end}{tail}"


if __name__ == "__main__":
    sys.exit(main())
