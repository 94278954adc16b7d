"""The table says what ran, and nothing is written that did not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import table

SUITE = """
import pytest

@pytest.mark.faults(area="crash", done="killed | twice", expected="0 lost")
def test_a_server_that_dies(record_property):
    record_property("measured", "0 lost of 12")

@pytest.mark.faults(area="order", done="wrote", expected="in order")
def test_what_fails(record_property):
    record_property("measured", "1 out of order")
    assert {passes}

def test_of_another_kind():
    raise AssertionError("not marked: must not run")
"""


def run(folder: Path, suite: str, *arguments: str) -> tuple[int, str]:
    written = folder / "test_suite.py"
    written.write_text(suite)
    command = [sys.executable, str(table.__file__), str(written), "-p", "no:cacheprovider", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("passes", [True, False])
def test_each_row_tells_what_was_done_expected_and_measured(tmp_path: Path, *, passes: bool) -> None:
    code, output = run(tmp_path, SUITE.format(passes=passes))
    assert code == (0 if passes else 1)
    assert "pass    crash: a server that dies\n" in output
    assert "expected: 0 lost\n" in output
    assert f"{'pass   ' if passes else 'FAIL   '} order: what fails\n" in output
    assert "measured: 1 out of order\n" in output
    assert f"{2 if passes else 1} of 2 fault tests passed" in output


def test_nothing_is_written_when_a_test_failed(tmp_path: Path) -> None:
    before = table.REPORT.read_bytes(), table.README.read_bytes()
    code, output = run(tmp_path, SUITE.format(passes=False), "--write")
    assert code == 1
    assert "nothing is written" in output
    assert (table.REPORT.read_bytes(), table.README.read_bytes()) == before


def test_nothing_is_written_when_only_some_tests_ran(tmp_path: Path) -> None:
    before = table.REPORT.read_bytes(), table.README.read_bytes()
    code, output = run(tmp_path, SUITE.format(passes=True), "--write")
    assert code == 1
    assert "nothing is written" in output
    assert (table.REPORT.read_bytes(), table.README.read_bytes()) == before


def test_a_fault_test_that_does_not_say_what_it_does_is_refused(tmp_path: Path) -> None:
    code, output = run(tmp_path, "import pytest\n@pytest.mark.faults\ndef test_x(): pass\n")
    assert code != 0
    assert "faults needs area, done and expected" in output


def test_a_table_survives_what_markdown_gives_a_meaning() -> None:
    row = table.Row("crash", "a test", "killed | twice", "0 lost", "0 lost of 12", "pass")
    assert table.markdown([row], ("done", "measured")).splitlines() == [
        "| done | measured |",
        "|---|---|",
        "| killed \\| twice | 0 lost of 12 |",
    ]


def test_the_rows_of_the_readme_are_tests() -> None:
    sources = "".join(path.read_text("utf-8") for path in (table.ROOT / "tests").rglob("test_*.py"))
    for name in table.HEADLINES:
        assert f"def {name}(" in sources, name


def test_only_the_part_between_the_marks_is_exchanged() -> None:
    text = f"before\n\n{table.BEGIN}\n\nold\n\n{table.END}\n\nafter\n"
    once = table.replaced(text, "new")
    assert once == f"before\n\n{table.BEGIN}\n\nnew\n\n{table.END}\n\nafter\n"
    assert table.replaced(once, "new") == once
    with pytest.raises(SystemExit, match="no place"):
        table.replaced("a document without marks", "new")
