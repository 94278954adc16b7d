"""The harness measures what it says, refuses what it must, and writes what a README can show.

Tiny sizes: nothing here is a figure.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import crash, figures, plan, run
from benchmarks.chart import Bar, Group, draw
from benchmarks.comparing import Comparison, ComparisonResult, Lane
from benchmarks.comparing import run as run_comparisons
from benchmarks.contenders import COUNTER, OURS, RAW, ROOT, Contender, ContenderError, Process
from benchmarks.server import NotDurableError, Server, durable_server, require_durable
from benchmarks.targets import PEER_TARGETS, TARGETS, Target, judge
from benchmarks.texts import TOTAL, Texts, path_of_dataset
from benchmarks.worker import percentile

TINY = plan.Scale(
    repetitions=2,
    seconds=0.01,
    appends=5,
    together=0,
    messages=30,
    long=200,
    conversations=12,
    dataset=0.1,
    subset=5,
    starts=1,
    distributions=(0,),
)
SQLITE = Contender("third", "SQLite file", "benchmarks.adapters.sqlite:SQLite")
LOSING = Contender("losing", "losing", "tests.benchmarks.losing:Losing")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with durable_server() as running:
        yield running


@pytest.fixture(scope="module")
def few_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = json.loads(path_of_dataset().read_text("utf-8"))
    path = tmp_path_factory.mktemp("texts") / "few.json"
    path.write_text(json.dumps(dict(list(data.items())[:60])), "utf-8")
    return path


def _run(server: Server, texts: Path, comparisons: Sequence[Comparison]) -> list[ComparisonResult]:
    return list(
        run_comparisons(
            server,
            comparisons,
            texts=texts,
            repetitions=TINY.repetitions,
            seconds=TINY.seconds,
            progress=lambda _: None,
            versions={},
        )
    )


def test_every_workload_runs_on_ours_and_on_the_yardstick(server: Server, few_texts: Path) -> None:
    comparisons = plan.comparisons(TINY)
    results = _run(server, few_texts, comparisons)
    assert [one["code"] for one in results] == [one.code for one in comparisons]
    for result in results:
        assert result["ratio"], result["code"]
        for lane in result["lanes"]:
            assert len(lane["repetitions"]) == TINY.repetitions
            assert all(one["operations"] > 0 for one in lane["repetitions"])
    assert set(figures.of_comparisons(results)) >= {
        one.key for one in TARGETS if not one.key.startswith(("W7", "W8")) and "p99" not in one.key
    }


def test_a_backend_of_ones_own_is_measured_and_what_it_lacks_is_a_dash(
    server: Server, few_texts: Path
) -> None:
    contenders = [OURS, RAW, SQLITE]
    results = _run(
        server,
        few_texts,
        [
            *plan.among(contenders, TINY)[:1],
            plan.turns(1, contenders),
            Comparison(
                "W5 all",
                "list",
                [
                    Lane(one, "Listing", {"conversations": 3, "messages": 2, "each": 1}, one.name)
                    for one in contenders
                ],
            ),
        ],
    )
    appends, turns, lists = results
    assert appends["lanes"][2]["rate"]
    assert turns["lanes"][2]["notes"] == ["no existence check, the turn goes without"]
    assert lists["lanes"][0]["rate"]
    assert lists["lanes"][2]["rate"] is None


def test_a_contender_that_loses_a_message_gets_no_figure(server: Server, few_texts: Path) -> None:
    lane = Lane(LOSING, "Appends", {"agents": 2, "each": 3}, "losing")
    with pytest.raises(ContenderError, match="returned 2 messages, not the 3"):
        _run(server, few_texts, [Comparison("W2@2", "appends", [lane])])


def test_a_contender_that_cannot_be_loaded_says_why() -> None:
    broken = Contender("broken", "broken", "benchmarks.adapters.nothing:Nothing")
    with (
        pytest.raises(ContenderError, match="No module named"),
        Process(broken) as process,
    ):
        process.ask(do="open", adapter=broken.adapter, url="", texts="")


def test_a_contender_that_hangs_is_given_up() -> None:
    with pytest.raises(ContenderError, match="ended or hung"), Process(COUNTER, patience=0.0) as process:
        process.ask(do="open", adapter=COUNTER.adapter, url="", texts="")


def test_a_contender_that_died_before_a_request_is_told() -> None:
    process = Process(COUNTER)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ContenderError, match="ended or hung"), process:
        process.ask(do="open", adapter=COUNTER.adapter, url="", texts="")


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
def test_a_server_that_may_lose_data_gets_no_figure(setting: str) -> None:
    durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    require_durable(durable)
    with pytest.raises(NotDurableError, match=setting):
        require_durable({**durable, setting: "off"})


def test_the_texts_are_the_whole_data_set_and_the_same_for_everybody() -> None:
    texts = Texts(path_of_dataset())
    assert sum(map(len, texts.conversations)) == TOTAL
    assert texts.stream().take(3) == texts.stream().take(3)
    assert len(texts.stream().take(TOTAL + 1)) == TOTAL + 1


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.50) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("bound", "measured", "text"),
    [
        ("at least", 2.0, "met"),
        ("at least", 1.0, "missed by 50%"),
        ("at most", 2.0, "met"),
        ("at most", 3.0, "missed by 50%"),
        ("at least", None, "not measured"),
    ],
)
def test_a_verdict_says_by_how_much_a_target_is_missed(bound: str, measured: float | None, text: str) -> None:
    target = Target("W", "work", "at least" if bound == "at least" else "at most", 2.0, "x")
    assert judge((target,), {} if measured is None else {"W": measured})[0].text == text


def test_targets_name_figures_once() -> None:
    keys = [one.key for one in (*TARGETS, *PEER_TARGETS)]
    assert len(keys) == len(set(keys))


def test_a_chart_is_well_formed_whatever_it_shows() -> None:
    bars = [
        Bar("slow & <odd>", 0.01, "1/s", ours=False),
        Bar("ours", 250, "9/s", ours=True, target=100),
        Bar("lacks it", None, "-", ours=False),
    ]
    svg = draw(
        "Title", "subtitle", [Group("", bars), Group("again", bars[:1])], axis="raw = 1", marks="target"
    )
    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 3


@pytest.mark.parametrize(
    "wrong", ["lost", "doubled", "contradicted", "wrong_counters", "out_of_order", "unexpected"]
)
def test_the_crash_check_fails_on_a_single_loss(wrong: str) -> None:
    good: crash.CrashResult = {
        "kills": crash.LEAST_KILLS,
        "lost": 0,
        "doubled": 0,
        "contradicted": 0,
        "wrong_counters": 0,
        "out_of_order": 0,
        "unexpected": 0,
        "acknowledged": 1,
        "unknown": 0,
        "refused": 0,
        "longest": 0.0,
    }
    assert crash.passed(good)
    bad = good.copy()
    bad.update({wrong: 1})  # type: ignore[misc]
    assert not crash.passed(bad)
    few = good.copy()
    few["kills"] = crash.LEAST_KILLS - 1
    assert not crash.passed(few)


@pytest.mark.faults(
    area="crash",
    done="5 x kill -9 of the whole server under 64 writers, as before every benchmark",
    expected="0 acknowledged appends lost, 0 doubled, none out of order",
)
def test_nothing_acknowledged_is_lost_when_the_server_is_killed_under_load(
    measured: Callable[[str], None],
) -> None:
    result = crash.run(crash.LEAST_KILLS, 200, lambda _: None)
    measured(
        f"{result['lost']} lost and {result['doubled']} doubled of {result['acknowledged']} acknowledged, "
        f"longest {result['longest']:.1f} s"
    )
    assert crash.passed(result)


def test_a_partial_run_writes_results_that_name_no_path_and_no_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--quick", "--only", "W1", "--no-crash-check", "--output", str(tmp_path)]
    assert run.main(arguments) == 0
    written = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert set(written) == {"bench.json", "bench.md", "bench.svg"}
    assert json.loads(written["bench.json"])["server"]["fsync"] == "on"
    assert "not for publication" in written["bench.md"]
    for text in written.values():
        assert str(ROOT) not in text
        assert "postgresql://" not in text
    assert "one client appends" in capsys.readouterr().out
