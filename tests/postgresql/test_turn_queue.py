"""Which waiting turns are sent next: order, bounds and fairness, without a server."""

from collections import defaultdict
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from corail.storage.postgresql._batch import Turn
from corail.storage.postgresql._queue import LARGE, MAX_BYTES, MAX_MESSAGES, TurnQueue


@dataclass(eq=False)
class Waiting:
    turn: Turn
    settled: bool = False


def waiting(conversation: str, *, count: int = 1, size: int = 1, keyed: bool = False) -> Waiting:
    return Waiting(Turn(conversation, f"{conversation}-key", keyed, [("user", "text")] * count, size))


def queue_of(*items: Waiting) -> TurnQueue[Waiting]:
    queue: TurnQueue[Waiting] = TurnQueue()
    for item in items:
        queue.add(item)
    return queue


def test_turns_of_several_conversations_share_a_batch_in_order_of_arrival() -> None:
    items = [waiting("b"), waiting("a"), waiting("b")]
    assert queue_of(*items).take_batch() == [items[0], items[2], items[1]]


def test_a_conversation_on_its_way_never_enters_a_second_statement() -> None:
    first, second, other = waiting("a"), waiting("a"), waiting("b")
    queue = queue_of(first)
    assert queue.take_batch() == [first]
    queue.add(second)
    queue.add(other)
    assert queue.take_batch() == [other]
    queue.arrived(["a"])
    assert queue.take_batch() == [second]


def test_a_batch_is_bounded_in_messages() -> None:
    queue = queue_of(*(waiting(f"c{index}") for index in range(MAX_MESSAGES + 7)))
    assert len(queue.take_batch()) == MAX_MESSAGES
    assert len(queue.take_batch()) == 7


def test_a_batch_is_bounded_in_bytes() -> None:
    queue = queue_of(*(waiting(f"c{index}", size=LARGE - 1) for index in range(6)))
    assert [len(queue.take_batch()) for _ in range(2)] == [MAX_BYTES // (LARGE - 1), 2]


def test_a_hot_conversation_does_not_fill_the_batch_while_others_wait() -> None:
    hot = [waiting("hot") for _ in range(2 * MAX_MESSAGES)]
    others = [waiting(f"c{index}") for index in range(9)]
    batch = queue_of(*hot, *others).take_batch()
    assert set(map(id, others)) <= set(map(id, batch))
    assert sum(item.turn.conversation_id == "hot" for item in batch) == MAX_MESSAGES // 10


def test_a_hot_conversation_alone_fills_the_batch() -> None:
    assert len(queue_of(*(waiting("hot") for _ in range(2 * MAX_MESSAGES))).take_batch()) == MAX_MESSAGES


def test_large_keyed_and_long_turns_travel_alone() -> None:
    alone = [
        waiting("large", size=LARGE),
        waiting("keyed", keyed=True),
        waiting("long", count=MAX_MESSAGES + 1),
    ]
    shared = waiting("shared")
    queue = queue_of(*alone, shared)
    assert queue.take_batch() == [shared]
    assert [queue.take_alone() for _ in range(4)] == [*alone, None]


def test_a_turn_behind_a_lone_one_of_its_conversation_waits_for_it() -> None:
    large, small = waiting("a", size=LARGE), waiting("a")
    queue = queue_of(large, small)
    assert queue.take_batch() == []
    assert queue.take_alone() is large
    assert queue.take_batch() == []
    queue.arrived(["a"])
    assert queue.take_batch() == [small]


def test_a_suspect_travels_alone_until_one_of_its_turns_is_stored() -> None:
    first, second, third = waiting("a"), waiting("a"), waiting("a")
    queue = queue_of(first, second, third)
    batch = queue.take_batch()
    queue.put_back(batch)
    queue.arrived(["a"], suspect=True)
    assert queue.take_batch() == []
    assert queue.take_alone() is first
    assert queue.take_alone() is None
    queue.arrived(["a"])
    assert queue.take_batch() == [second, third]


def test_a_given_up_turn_is_not_sent() -> None:
    given_up, kept = waiting("a"), waiting("a")
    queue = queue_of(given_up, kept, waiting("b", keyed=True))
    given_up.settled = True
    for item in list(queue):
        if item.turn.keyed:
            item.settled = True
    assert queue.take_batch() == [kept]
    assert queue.take_alone() is None
    queue.arrived(["a"])
    assert not queue


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from("abc"), st.sampled_from(["", "large", "keyed"])),
            st.tuples(st.sampled_from(["share", "alone", "store", "refuse", "again", "give up"])),
        ),
        max_size=60,
    )
)
def test_every_turn_is_sent_once_and_in_order_whatever_happens(steps: list[tuple[str, ...]]) -> None:
    """Run arrivals, departures, refusals and cancellations in any order, then drain."""
    queue: TurnQueue[Waiting] = TurnQueue()
    added: dict[str, list[Waiting]] = defaultdict(list)
    stored: dict[str, list[Waiting]] = defaultdict(list)
    under_way: list[list[Waiting]] = []

    def take(alone: bool) -> bool:  # noqa: FBT001 - a test's helper
        one = queue.take_alone() if alone else None
        batch = ([one] if one is not None else []) if alone else queue.take_batch()
        busy = {item.turn.conversation_id for group in under_way for item in group}
        assert not busy & {item.turn.conversation_id for item in batch}
        if batch:
            under_way.append(batch)
        return bool(batch)

    def finish(how: str) -> None:
        batch = under_way.pop(0)
        if how == "store":
            for item in batch:
                stored[item.turn.conversation_id].append(item)
        else:
            queue.put_back(batch)
        queue.arrived({item.turn.conversation_id for item in batch}, suspect=how == "refuse")

    for step in steps:
        match step:
            case ("add", conversation, kind):
                item = waiting(conversation, size=LARGE if kind == "large" else 1, keyed=kind == "keyed")
                added[conversation].append(item)
                queue.add(item)
            case ("share",) | ("alone",):
                take(step[0] == "alone")
            case ("give up",):
                for item in list(queue)[:3]:
                    item.settled = True
            case _ if under_way:
                finish(step[0])
            case _:
                pass
    while under_way or queue:
        # Shared first, as after every flush: what turns out to travel alone is found then.
        while take(alone=False) or take(alone=True):
            pass
        # Nothing is stranded: without anything under way, nobody is left who still waits.
        assert under_way or all(item.settled for item in queue)
        if under_way:
            finish("store")
        else:
            break
    for conversation, items in added.items():
        assert stored[conversation] == [
            item for item in items if item in stored[conversation] or not item.settled
        ]
