"""Which workloads are run, on whom, and how large: the table of the benchmarks."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from benchmarks.comparing import Comparison, Lane
from benchmarks.contenders import COUNTER, OURS, RAW, Contender

AGENTS: Final = (8, 64, 256)
TURNS: Final = (1, 8, 64)
HISTORY: Final = 20


class Scale(NamedTuple):
    """How much there is to do; the defaults are those of the published figures."""

    repetitions: int = 9
    seconds: float = 0.35
    """That one repetition measures at least."""
    appends: int = 200
    """Of one client, in a unit."""
    together: int = 1_280
    """Appends of all agents, in a unit; at least 10 of each."""
    messages: int = 1_000
    """Of the conversation that is read whole."""
    long: int = 100_000
    """Messages of the conversation whose tail is read."""
    conversations: int = 5_000
    """That are listed, with 20 messages each."""
    dataset: float = 1.0
    """Share of the data set that is loaded."""
    subset: int = 1_000
    """Messages of each part that are loaded one by one."""
    starts: int = 25
    """Processes started for every figure of W8."""
    distributions: Sequence[int] = (0, 300, 1_000)


FULL: Final = Scale()
# Fewer and smaller units: the slowest peer takes 100 times as long for one as the fastest contender.
PEERS_FULL: Final = Scale(repetitions=5, seconds=0.5, together=640)
QUICK: Final = Scale(
    repetitions=3,
    seconds=0.15,
    long=20_000,
    conversations=1_000,
    dataset=0.1,
    subset=300,
    starts=7,
)


def comparisons(scale: Scale) -> list[Comparison]:
    """Return ours against raw asyncpg, in the order they are run."""
    return [
        _pair("W1", "one client appends", "Appends", agents=1, each=scale.appends),
        *(
            _pair(
                f"W2@{agents}",
                f"{agents} agents append",
                "Appends",
                agents=agents,
                each=max(10, scale.together // agents),
            )
            for agents in AGENTS
        ),
        _pair(
            "W2hot",
            "16 writers, one conversation",
            "Appends",
            against=COUNTER,
            agents=16,
            each=max(10, scale.together // 16),
            shared=True,
        ),
        _pair("W3", f"read {scale.messages:,} messages", "Reads", messages=scale.messages, each=10),
        Comparison(
            "W3tail",
            f"last {HISTORY} of {scale.long:,} messages",
            (
                _lane(OURS, "Reads", "the tail", messages=scale.long, each=100, tail=HISTORY),
                _lane(OURS, "Reads", f"{HISTORY} messages", messages=HISTORY, each=100),
                _lane(RAW, "Reads", "raw asyncpg, the tail", messages=scale.long, each=100, tail=HISTORY),
            ),
        ),
        *(turns(agents) for agents in TURNS),
        _listing(scale, "W5 all", f"list {scale.conversations:,} conversations", each=1),
        _listing(scale, "W5 page", f"list 50 of {scale.conversations:,} conversations", each=20, page=50),
        _load(scale),
    ]


def turns(agents: int, contenders: Sequence[Contender] = (OURS, RAW)) -> Comparison:
    """Return the chat turn with so many agents."""
    return Comparison(
        f"W4@{agents}",
        f"chat turn, {agents} agent{'s' if agents > 1 else ''}",
        [
            _lane(one, "Turns", one.name, agents=agents, each=10 if agents > 1 else 20, history=HISTORY)
            for one in contenders
        ],
    )


def among(contenders: Sequence[Contender], scale: Scale) -> list[Comparison]:
    """Return the work that peers are compared at, all contenders in turn."""
    works: list[tuple[str, str, str, dict[str, Any]]] = [
        ("W1", "one client appends", "Appends", {"agents": 1, "each": scale.appends}),
        (
            "W2@64",
            "64 agents append",
            "Appends",
            {"agents": 64, "each": max(10, scale.together // 64)},
        ),
        ("W3", f"read {scale.messages:,} messages", "Reads", {"messages": scale.messages, "each": 5}),
    ]
    return [
        *(
            Comparison(code, title, [_lane(one, kind, one.name, **options) for one in contenders])
            for code, title, kind, options in works
        ),
        turns(8, contenders),
    ]


def _pair(code: str, title: str, kind: str, *, against: Contender = RAW, **options: Any) -> Comparison:
    lanes = (_lane(OURS, kind, OURS.name, **options), _lane(against, kind, against.name, **options))
    return Comparison(code, title, lanes)


def _listing(scale: Scale, code: str, title: str, **options: Any) -> Comparison:
    return _pair(code, title, "Listing", conversations=scale.conversations, messages=HISTORY, **options)


def _load(scale: Scale) -> Comparison:
    common = {"parts": scale.repetitions, "subset": scale.subset, "share": scale.dataset}
    return Comparison(
        "W6",
        "load the data set",
        (
            _lane(OURS, "Load", OURS.name, bulk=True, **common),
            _lane(RAW, "Load", RAW.name, bulk=False, **common),
        ),
    )


def _lane(contender: Contender, kind: str, label: str, **options: Any) -> Lane:
    return Lane(contender, kind, options, label)
