"""The table of `make test-faults`: what each fault test did, what was expected, what was measured.

``python tests/faults/table.py`` runs every test marked ``faults`` and prints the table; ``--write`` also
puts it into docs/reliability.md and, shortened, into README.md, if every test ran and passed; other
arguments go to pytest, and then nothing is written. No database here: the tests bring their own.
"""

import argparse
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
REPORT: Final = ROOT / "docs" / "reliability.md"
README: Final = ROOT / "README.md"
BEGIN: Final = "<!-- begin: written by `make reliability` -->"
END: Final = "<!-- end -->"
HEADLINES: Final = (
    "test_nothing_acknowledged_is_lost_when_the_server_is_killed_under_load",
    "test_ten_crashes_under_writers_of_keyed_turns",
    "test_one_reply_in_twenty_cut_under_every_kind_of_change",
    "test_a_thousand_cancelled_appends",
    "test_a_black_hole",
    "test_a_disk_full_of_tables",
    "test_neighbours_of_a_held_row",
    "test_a_reader_that_follows_sixteen_writers_misses_nothing_and_sees_no_gap",
    "test_a_synchronous_standby_is_promoted",
    "test_fifty_starts_of_pods_on_few_server_connections",
    "test_eight_processes_open_fifty_new_databases_at_the_same_moment",
    "test_children_forked_amid_traffic_leave_the_parent_alone",
    "test_a_million_messages_are_upgraded_under_both_releases",
)
"""The tests whose rows stand in README.md."""


class Row(NamedTuple):
    """One fault test."""

    area: str
    test: str
    done: str
    expected: str
    measured: str
    outcome: str
    """``pass``, ``FAIL`` or ``skipped``."""


class Recorder:
    """A pytest plugin: collects the rows, in the order the tests ran."""

    def __init__(self) -> None:
        self._items: dict[str, pytest.Mark] = {}
        self._rows: dict[str, Row] = {}
        self._outcomes: dict[str, str] = {}

    @property
    def rows(self) -> list[Row]:
        """The rows by area, areas in the order they came first."""
        areas = list(dict.fromkeys(row.area for row in self._rows.values()))
        return sorted(self._rows.values(), key=lambda row: areas.index(row.area))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            mark = item.get_closest_marker("faults")
            if mark is None:
                continue
            if set(mark.kwargs) != {"area", "done", "expected"} or mark.args:
                raise pytest.UsageError(f"{item.nodeid}: faults needs area, done and expected")
            self._items[item.nodeid] = mark

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        mark = self._items.get(report.nodeid)
        if mark is None:
            return
        outcome = {"passed": "pass", "failed": "FAIL", "skipped": "skipped"}[report.outcome]
        if self._outcomes.get(report.nodeid, "pass") == "pass":
            self._outcomes[report.nodeid] = outcome
        measured = [str(value) for name, value in report.user_properties if name == "measured"]
        self._rows[report.nodeid] = Row(
            mark.kwargs["area"],
            _title(report.nodeid),
            mark.kwargs["done"],
            mark.kwargs["expected"],
            "; ".join(measured),
            self._outcomes[report.nodeid],
        )


def markdown(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Return a table of the named columns."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(getattr(row, column).replace("|", "\\|") for column in columns) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def headlines(rows: Iterable[Row]) -> list[Row]:
    """Return the rows for README.md, in their order there."""
    by_title = {row.test: row for row in rows}
    return [by_title[_title(name)] for name in HEADLINES]


def replaced(text: str, table: str) -> str:
    """Return a document with the part between the two comments exchanged."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"no place for the table: {BEGIN} and {END} are missing")
    return f"{head}{begin}\n\n{table}\n\n{end}{tail}"


def main() -> int:
    """Run the tests, print the table, and write it where that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md and README.md")
    options, arguments = parser.parse_known_args()
    recorder = Recorder()
    started = monotonic()
    own = ["-m", "faults", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    code = pytest.main([*own, *arguments], plugins=[recorder])
    rows = recorder.rows
    for row in rows:
        sys.stdout.write(
            f"\n{row.outcome:7} {row.area}: {row.test}\n"
            f"        done:     {row.done}\n"
            f"        expected: {row.expected}\n"
            f"        measured: {row.measured or '-'}\n"
        )
    took = monotonic() - started
    passed = sum(row.outcome == "pass" for row in rows)
    sys.stdout.write(f"\n{passed} of {len(rows)} fault tests passed in {took:.0f} s.\n")
    if options.write:
        if code or passed != len(rows) or arguments:
            sys.stdout.write("Not every test ran and passed: nothing is written.\n")
            return 1
        _write(rows, took)
    return int(code)


def _write(rows: list[Row], took: float) -> None:
    about = (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}; "
        f"{len(rows)} tests, all passed, {took:.0f} s."
    )
    columns = ("area", "done", "expected", "measured", "outcome")
    REPORT.write_text(
        replaced(REPORT.read_text("utf-8"), f"{about}\n\n{markdown(rows, columns)}"), encoding="utf-8"
    )
    README.write_text(
        replaced(README.read_text("utf-8"), markdown(headlines(rows), ("done", "measured"))), encoding="utf-8"
    )


def _title(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
