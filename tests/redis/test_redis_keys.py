"""Which keys there are and in which slots; how text, times and messages become bytes."""

import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corail.storage.errors import StorageConfigurationError
from corail.storage.redis import RedisStorage, _rows
from corail.storage.redis._layout import SHARDS, TAGS, Conversation, Layout, decode, encode, shard_of, slot
from corail.storage.validation import CheckedMessage, check_messages
from tests.redis.conftest import MakeStorage
from tests.redis.layout import keys_of, send
from tests.redis.servers import Cluster

HOSTILE = [
    "}",
    "{",
    "{}",
    "{0}",
    "}{",
    "{{1}}",
    "a{b}c",
    "corail:{0}:meta:x",
    "\x00",
    "\ud83d",
    "\ude00\ud83d",
    "a b\r\n*1\r\n",
    "é" * 255,
    "\U0010ffff" * 255,
]
ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("{}:0\x00\ud800 ")


def slots_of(keys: Conversation) -> set[int]:
    return {slot(key) for key in keys.all_keys}


@pytest.mark.parametrize("name", HOSTILE)
def test_all_keys_of_a_hostile_id_lie_in_one_slot(name: str) -> None:
    assert len(slots_of(Layout("corail").conversation(name))) == 1


@given(ANY_TEXT.filter(bool))
def test_all_keys_of_any_id_lie_in_one_slot(name: str) -> None:
    layout = Layout("corail")
    keys = layout.conversation(name)
    assert len(slots_of(keys)) == 1
    assert layout.meta(b"0" * 16 + keys.id) == keys.meta
    assert decode(keys.id) == name


@given(st.lists(ANY_TEXT, max_size=8))
def test_the_order_of_bytes_is_the_order_of_text(names: list[str]) -> None:
    assert [decode(raw) for raw in sorted(map(encode, names))] == sorted(names)


def test_no_two_conversations_share_a_key() -> None:
    layout = Layout("corail")
    names = [*HOSTILE, "x", "meta:x", "s:x", "0:x", "index", "expiry", "keys:meta:x", "e\u0301", "\u00e9"]
    counted = Counter(key for name in names for key in layout.conversation(name)[1:6])
    assert counted.most_common(1)[0][1] == 1
    assert not {key for shard in layout.shards for key in shard} & counted.keys()


@pytest.mark.anyio
async def test_the_server_agrees_about_the_slots(cluster: Cluster, make: MakeStorage) -> None:
    async with make(cluster.url) as storage:
        for name in HOSTILE:
            keys = keys_of(storage, name)
            assert {cluster.nodes[0].command("CLUSTER KEYSLOT", key) for key in keys.all_keys} == slots_of(
                keys
            )
            await storage.append_messages(name, [{"role": "user", "content": name}], idempotency_key=name)
            await storage.append_messages(name, [{"role": "user", "content": name}], idempotency_key=name)
            assert await storage.get_messages(name) == [{"role": "user", "content": name}]
        listed = [row["id"] for row in await storage.list_conversations()]
        assert sorted(listed) == sorted(HOSTILE)
        for name in HOSTILE:
            await storage.delete_conversation(name)
        assert await storage.list_conversations() == []
        left = [key for name in HOSTILE for key in keys_of(storage, name).all_keys]
        assert not [key for key in left if await send(storage, "EXISTS", key)]


def test_shards_are_spread_evenly_and_stay_where_they_are() -> None:
    assert [slot(tag) * SHARDS // 16384 for tag in TAGS] == list(range(SHARDS))
    # What is stored would not be found again if these changed.
    assert hashlib.sha256(b",".join(TAGS)).hexdigest()[:16] == "a94b1b431e508a23"
    assert [shard_of(b"chat-%d" % number) for number in range(6)] == [50, 36, 30, 8, 43, 61]
    counted = Counter(shard_of(b"chat-%d" % number) for number in range(6400))
    assert len(counted) == SHARDS
    assert max(counted.values()) < 150


@pytest.mark.parametrize("prefix", ["", "{", "a}b", "x" * 65])
def test_a_prefix_that_would_part_the_keys_is_refused(prefix: str) -> None:
    with pytest.raises(StorageConfigurationError, match="prefix"):
        RedisStorage("redis://localhost", prefix=prefix)


@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=64), ANY_TEXT)
def test_any_message_comes_back_equal(role: str, content: str) -> None:
    element = b"1760000000000000 " + _rows.message(role, content)
    assert _rows.read_message(element) == {"role": role, "content": content}
    item = _rows.message_item(element, 7)
    assert item == {
        "role": role,
        "content": content,
        "id": "7",
        "created_at": "2025-10-09T08:53:20.000000+00:00",
    }


@given(st.lists(st.tuples(ANY_TEXT.filter(bool), ANY_TEXT), max_size=4), st.data())
def test_different_batches_have_different_digests(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    def checked(batch: list[tuple[str, str]]) -> list[CheckedMessage]:
        return check_messages([{"role": role[:64], "content": content} for role, content in batch])

    other = data.draw(
        st.lists(st.tuples(ANY_TEXT.filter(bool), ANY_TEXT), max_size=4) | st.permutations(pairs)
    )
    same = checked(pairs) == checked(other)
    assert (_rows.digest(checked(pairs)) == _rows.digest(checked(other))) is same


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(ANY_TEXT, JSON, max_size=3))
def test_any_metadata_comes_back_equal(value: dict[str, object]) -> None:
    assert _rows.read_metadata(_rows.metadata_text(value)) == value


def test_surrogates_that_stand_side_by_side_stay_two() -> None:
    pair = "\ud83d" + "\ude00"
    value = {pair: pair, "\U0001f600": "other"}
    assert _rows.read_metadata(_rows.metadata_text(value)) == value


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_are_exact_between_1970_and_2286(moment: datetime) -> None:
    stamp = _rows.stamp_of(moment)
    assert len(stamp) == 16
    if datetime(1970, 1, 1, tzinfo=UTC) <= moment < datetime(2286, 1, 1, tzinfo=UTC):
        assert datetime.fromisoformat(_rows.instant(stamp)) == moment
        assert _rows.stamp_of(moment + timedelta(microseconds=1)) > stamp
