"""What is to be reached, as data; the report measures itself against it, no test does."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple


class Target(NamedTuple):
    """One bound on one figure."""

    key: str
    """Of the figure, see ``figures``."""
    what: str
    bound: Literal["at least", "at most"]
    value: float
    unit: str
    hope: float | None = None

    def is_met(self, measured: float) -> bool:
        """Return whether the figure keeps the bound."""
        return measured >= self.value if self.bound == "at least" else measured <= self.value

    def verdict(self, measured: float | None) -> str:
        """Return ``met``, or by how much it is missed."""
        if measured is None:
            return "not measured"
        if self.is_met(measured):
            hoped = self.hope is not None and measured >= self.hope
            return "met, hoped for as well" if hoped else "met"
        if self.value == 0:
            return f"missed: {measured:g}"
        return f"missed by {abs(measured - self.value) / self.value:.0%}"

    def wanted(self) -> str:
        """Return the bound as text."""
        sign = "≥" if self.bound == "at least" else "≤"
        text = f"{sign} {self.value:.3g}{self.unit}"
        return text if self.hope is None else f"{text} (hope {self.hope:.3g}{self.unit})"


_SIXTH: Final = 1 / 6

TARGETS: Final = (
    Target("W1", "one client appends", "at least", 1.25, "x", 1.5),
    Target("W2@64", "64 agents append", "at least", 5, "x", 7),
    Target("W2@64 p99", "its p99, by that of raw", "at most", _SIXTH, "x"),
    Target("W2@256", "256 agents append", "at least", 6, "x", 7),
    Target("W2@256 p99", "its p99, by that of raw", "at most", _SIXTH, "x"),
    Target("W2hot", "16 writers, one conversation", "at least", 6, "x", 10),
    Target("W3", "read 1,000 messages", "at least", 1.1, "x", 1.3),
    Target("W3tail", "time for 20 of 100,000, by that for 20 of 20", "at most", 1.3, "x"),
    Target("W4@1", "chat turn, 1 agent", "at least", 1.4, "x", 1.6),
    Target("W4@8", "chat turn, 8 agents", "at least", 1.8, "x", 2.5),
    Target("W4@64", "chat turn, 64 agents", "at least", 4, "x", 6),
    Target("W5 all", "list all conversations", "at least", 3, "x"),
    Target("W5 page", "list 50 conversations", "at least", 100, "x"),
    Target("W6", "load the data set", "at least", 10, "x"),
    Target("W7", "memory, by that of a list of dicts", "at most", 0.45, "x"),
    Target("W8 import", "import of core, above the bare interpreter", "at most", 10, " ms"),
    Target("W8 modules", "unwanted modules it loads", "at most", 0, ""),
    Target("W8 create", "first create of a known, imported storage", "at most", 1, " ms"),
    Target("W8 scans", "scans that it takes", "at most", 0, ""),
    Target("W8 available first", "first available(), 1,000 distributions", "at most", 80, " ms"),
    Target("W8 available later", "later available(), 1,000 distributions", "at most", 0.1, " ms"),
)

PEER_TARGETS: Final = (
    Target("W1 peers", "one client appends, by the fastest peer", "at least", 1, "x"),
    Target("W2@64 peers", "64 agents append, by the fastest peer", "at least", 1, "x"),
    Target("W3 peers", "read 1,000 messages, by the fastest peer", "at least", 3, "x"),
    Target("W4@8 peers", "chat turn, 8 agents, by the fastest peer", "at least", 1, "x"),
)


class Verdict(NamedTuple):
    """A target beside what was measured."""

    target: Target
    measured: float | None
    text: str


def judge(targets: tuple[Target, ...], figures: Mapping[str, float]) -> list[Verdict]:
    """Return a verdict for every target."""
    return [Verdict(one, figures.get(one.key), one.verdict(figures.get(one.key))) for one in targets]
