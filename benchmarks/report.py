"""What a run showed: a table on the terminal, a Markdown file with the same rows, and JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks import figures
from benchmarks.comparing import ComparisonResult, LaneResult
from benchmarks.targets import Verdict

Row = Sequence[str]

WORK: Final = ("", "work", "ours", "against", "ratio", "single runs")
LATENCY: Final = ("", "ours p50", "other", "ours p99", "other", "ratio of p99", "ours CPU", "other")
TARGETS: Final = ("", "figure", "measured", "target", "verdict")
STARTUP: Final = ("W8", "median")
"""Headings of the tables."""


def machine() -> dict[str, Any]:
    """Return what a reader has to know of the machine, and nothing that tells whose it is."""
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def work_rows(results: Sequence[ComparisonResult]) -> list[Row]:
    """Return a row per comparison: ours, what it is measured against, and the range of single runs."""
    rows: list[Row] = []
    for result in results:
        ours, against = result["lanes"][:2]
        single = "-"
        if result["lowest"] is not None and result["highest"] is not None:
            single = f"{figures.ratio(result['lowest'])} to {figures.ratio(result['highest'])}"
        rows.append(
            (
                result["code"],
                _titled(result),
                figures.rate(ours["rate"]),
                figures.rate(against["rate"]),
                figures.ratio(result["ratio"]),
                single,
            )
        )
        rows.extend(
            ("", f"  beside it: {lane['label']}", "", figures.rate(lane["rate"]), "", "")
            for lane in result["lanes"][2:]
        )
    return rows


def latency_rows(results: Sequence[ComparisonResult]) -> list[Row]:
    """Return a row per comparison whose operations were timed one by one.

    p50 and p99 of ours and of what it is measured against, the ratio of the p99, and the processor
    time that an operation took in the client.
    """
    return [
        (
            result["code"],
            figures.time(ours["p50"]),
            figures.time(against["p50"]),
            figures.time(ours["p99"]),
            figures.time(against["p99"]),
            figures.ratio(result["p99_ratio"]),
            figures.time(ours["cpu"]),
            figures.time(against["cpu"]),
        )
        for result in results
        for ours, against in [result["lanes"][:2]]
        if ours["p50"] is not None
    ]


def _titled(result: ComparisonResult) -> str:
    against = result["lanes"][1]
    return result["title"] + ("" if against["contender"] == "raw" else f" (against: {against['label']})")


def peer_rows(results: Sequence[ComparisonResult]) -> tuple[Row, list[Row]]:
    """Return the heading and a row per contender: its rate and, in brackets, that by raw asyncpg's."""
    heading = ("", *(f"{result['code']}: {result['title']}" for result in results))
    rows: list[Row] = []
    for index, first in enumerate(results[0]["lanes"] if results else ()):
        cells = [_peer_cell(result, result["lanes"][index]) for result in results]
        rows.append((first["label"], *cells))
    return heading, rows


def _peer_cell(result: ComparisonResult, lane: LaneResult) -> str:
    raw = next((one["rate"] for one in result["lanes"] if one["contender"] == "raw"), None)
    if not lane["rate"]:
        return "-"
    mark = "*" if lane["notes"] else ""
    return f"{figures.rate(lane['rate'])} ({figures.ratio(lane['rate'] / raw) if raw else '-'}){mark}"


def peer_notes(results: Sequence[ComparisonResult]) -> list[str]:
    """Return what the asterisks stand for."""
    notes: dict[str, list[str]] = {}
    for result in results:
        for lane in result["lanes"]:
            for note in lane["notes"]:
                notes.setdefault(f"{result['code']}: {note}", []).append(lane["label"])
    return [f"* {note} ({', '.join(labels)})." for note, labels in notes.items()]


def startup_rows(startup: Mapping[str, Any]) -> list[Row]:
    """Return the times of W8."""
    rows: list[Row] = [
        ("bare interpreter", figures.time(startup["bare"])),
        ("with `import corail.storage.factory`", figures.time(startup["import"])),
        ("first create(), the import of `memory` included", figures.time(startup["create_importing"])),
        ("first create(), `memory` imported before", figures.time(startup["create_first"])),
        ("later create()", figures.time(startup["create_later"])),
    ]
    for count, taken in startup["available"].items():
        what = f"available(), {int(count):,} other distributions: first, later"
        rows.append((what, f"{figures.time(taken['first'])}, {figures.time(taken['later'])}"))
    return rows


def target_rows(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return a row per target."""
    return [
        (
            one.target.key.split()[0],
            one.target.what,
            "-" if one.measured is None else figures.amount(one.measured, one.target.unit),
            one.target.wanted(),
            one.text,
        )
        for one in verdicts
    ]


def show(console: Console, title: str, heading: Row, rows: Sequence[Row]) -> None:
    """Print one table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
    left = _left_columns(heading)
    for index, name in enumerate(heading):
        table.add_column(name, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        missed = row[-1].startswith("missed")
        table.add_row(*row, style="red" if missed else None)
    console.print(table)


def markdown(heading: Row, rows: Sequence[Row]) -> str:
    """Return a table as Markdown."""
    left = _left_columns(heading)
    lines = [
        f"| {' | '.join(heading)} |",
        f"|{'|'.join([' --- '] * left + [' ---: '] * (len(heading) - left))}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _left_columns(heading: Row) -> int:
    """Return how many columns hold words, not figures."""
    return 2 if heading[:2] in (WORK[:2], TARGETS[:2]) else 1


def conditions(run: Mapping[str, Any]) -> str:
    """Return in one paragraph what the figures were measured on and how."""
    settings, host, scale = run["server"], run["machine"], run["scale"]
    durable = ", ".join(
        f"`{name}` {settings[name]}" for name in ("fsync", "synchronous_commit", "full_page_writes")
    )
    versions = sorted(
        {f"{name} {number}" for one in run["versions"].values() for name, number in one.items()}
    )
    return (
        f"PostgreSQL {settings['server_version']}, {durable}; {host['cores']} cores shared by server and "
        f"clients, {host['system']} {host['architecture']}, Python {host['python']}; "
        f"{scale['repetitions']} repetitions of at least {scale['seconds']} s each, contenders in turn, "
        f"medians; {host['started'][:10]}. {', '.join(versions)}.\n"
    )


def crash_line(crash: Mapping[str, Any] | None) -> str:
    """Return the result of the crash check in one sentence."""
    if crash is None:
        return "No crash check: not for publication.\n"
    return (
        f"Before measuring, the server was killed {crash['kills']} times under 64 writers: of "
        f"{crash['acknowledged']:,} acknowledged appends {crash['lost']} were lost and "
        f"{crash['doubled']} stored twice; {crash['wrong_counters']} wrong counters.\n"
    )


def write(folder: Path, name: str, run: Mapping[str, Any], text: str, svg: str) -> list[Path]:
    """Write JSON, Markdown and chart; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for suffix in (".json", ".md", ".svg")]
    contents = (json.dumps(run, indent=1, ensure_ascii=False) + "\n", text, svg)
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, encoding="utf-8")
    return paths
