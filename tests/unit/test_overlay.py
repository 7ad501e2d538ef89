"""The overlay and its undo log, the state of one task over it, and following topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Appended, Item, Items

from streams import SKIP, App, Context, UsageError
from streams.assembly import CACHED_BYTES, open_state
from streams.avro.codec import Codec
from streams.errors import EncodeError, HandlerError
from streams.record import Record, TopicPartition
from streams.state.backend import Backend
from streams.state.overlay import CACHE_BYTES, Overlay, UndoLog
from streams.state.task_state import TaskState

KEYS = st.sampled_from("abc")
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.none() | st.integers(0, 99)),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("put_many"), st.dictionaries(KEYS, st.none() | st.integers(0, 99), min_size=1)),
        st.tuples(st.just("mark")),
        st.tuples(st.just("rollback")),
        st.tuples(st.just("clear")),
        st.tuples(st.just("commit"), st.integers(0, 200)),
        st.tuples(st.just("discard")),
    ),
    min_size=12,
    max_size=60,
)


@given(actions=ACTIONS, cache=st.sampled_from([0, 150, 400, 1 << 20]))
@settings(max_examples=150, deadline=None)
def test_it_behaves_like_a_dictionary_that_can_be_rolled_back(  # noqa: C901 - one case for each action
    actions: list[tuple[Any, ...]], cache: int
) -> None:
    """INV-3, INV-4: against a model with copies, for every size of the cache."""
    committed: dict[str, int] = {"a": 1}
    undo = UndoLog()
    overlay: Overlay[str, int] = Overlay(
        lambda key: (committed.get(key), 50 if key in committed else 0), str.encode, undo, cache
    )
    model = dict(committed)
    dirty: set[str] = set()
    marked: tuple[int, dict[str, int], set[str]] = (undo.mark(), dict(model), set())
    for action, *arguments in actions:
        match action:
            case "put":
                overlay.put(*arguments)
                model.pop(arguments[0], None)
                if arguments[1] is not None:
                    model[arguments[0]] = arguments[1]
                dirty.add(arguments[0])
            case "put_many":
                overlay.put_many(*arguments)
                model = {key: value for key, value in {**model, **arguments[0]}.items() if value is not None}
                dirty |= arguments[0].keys()
            case "get":
                assert overlay.get(arguments[0]) == model.get(arguments[0])
            case "mark":
                marked = (undo.mark(), dict(model), set(dirty))
            case "rollback":
                undo.rollback(marked[0])
                model, dirty = dict(marked[1]), set(marked[2])
                assert {key: overlay.get(key) for key in "abc"} == {key: model.get(key) for key in "abc"}
            case "clear":
                undo.clear()
                marked = (undo.mark(), dict(model), set(dirty))
            case "commit":
                keys, values = overlay.dirty()
                rows = list(zip(map(bytes.decode, keys), values, strict=True))
                assert dict(rows) == {key: model.get(key) for key in dirty}
                for key, value in rows:
                    committed.pop(key, None)
                    if value is not None:
                        committed[key] = value
                overlay.committed([arguments[0]] * len(rows))
                undo.clear()
                dirty = set()
                marked = (undo.mark(), dict(model), set())
            case "discard":
                overlay.discard()
                undo.clear()
                model, dirty = dict(committed), set()
                marked = (undo.mark(), dict(model), set())
        assert len(overlay) == len(dirty)
    assert {key: overlay.get(key) for key in "abc"} == {key: model.get(key) for key in "abc"}


def test_the_cache_stays_warm_and_within_its_bounds() -> None:
    loads: list[int] = []

    def load(key: int) -> tuple[int | None, int]:
        loads.append(key)
        return key, 900

    overlay: Overlay[int, int] = Overlay(load, bytes, UndoLog(), 10_000)
    for _ in range(3):
        overlay.get(1)
    overlay.put(1, 5)
    overlay.committed([900])
    assert overlay.get(1) == 5
    assert loads == [1]
    for key in range(100):
        overlay.get(key)
    assert overlay._cached <= 10_000
    assert len(overlay.live) <= 10


def test_a_rolled_back_key_is_what_it_was_before_and_no_more_dirty_than_before() -> None:
    """INV-4."""
    undo = UndoLog()
    overlay: Overlay[str, int] = Overlay(lambda _key: (7, 1), str.encode, undo)
    overlay.put("a", 1)
    mark = undo.mark()
    overlay.put("a", 2)
    overlay.put("b", 3)
    overlay.put("b", 4)
    undo.rollback(mark)
    assert overlay.dirty() == ([b"a"], [1])
    assert (overlay.get("a"), overlay.get("b")) == (1, 7)
    assert undo.mark() == mark


def test_a_commit_charges_what_was_encoded() -> None:
    overlay: Overlay[int, int] = Overlay(lambda _key: (None, 0), bytes, UndoLog(), 1_000)
    for key in range(10):
        overlay.put(key, key)
    overlay.committed([300] * 10)
    assert 0 < len(overlay.live) <= 3


def test_what_is_committed_is_not_undone() -> None:
    undo = UndoLog()
    overlay: Overlay[int, int] = Overlay(lambda _key: (None, 0), bytes, undo)
    overlay.put(1, 1)
    undo.clear()
    undo.rollback(0)
    assert overlay.get(1) == 1


def test_absent_keys_are_bounded_too() -> None:
    overlay: Overlay[int, int] = Overlay(lambda _key: (None, 0), bytes, UndoLog(), 1_000)
    for key in range(1_000):
        assert overlay.get(key) is None
    assert len(overlay.live) <= 10


def test_uncommitted_writes_are_never_evicted() -> None:
    overlay: Overlay[int, int] = Overlay(lambda _key: (None, 0), lambda key: b"%d" % key, UndoLog(), 500)
    for key in range(50):
        overlay.get(key)
        overlay.put(key, key)
    assert overlay.dirty() == ([b"%d" % key for key in range(50)], list(range(50)))


app = App("overlay")
lists = app.store("same", str, Items)
longs = app.store("longs", int, Items)
rows = app.table("same", Appended, key="key")
CHANGELOG, LONGS, ROWS = (TopicPartition(name, 0) for name in ("lists.changelog", "longs.changelog", "same"))
ITEMS, APPENDED = Codec(Items, 1), Codec(Appended, 2)
ONE, TWO = Items(items=(1,)), Items(items=(2,))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[TaskState]:
    sources = {lists: CHANGELOG, longs: LONGS, rows: ROWS}
    backend = Backend(tmp_path / "state", [source.topic for source in sources.values()], boot_id="one")
    state = TaskState(
        backend,
        sources,
        {lists: ITEMS, longs: ITEMS, rows: APPENDED},
        foreign=lambda key: 7 if key.startswith(b"far") else None,
    )
    yield state
    state.close()


def row(key: bytes | None, value: Appended | None) -> Any:
    frame = None if value is None else APPENDED.encode([value])[0]
    return Record("same", key, frame, 0, 0, 0)


def test_nothing_is_in_the_backend_before_it_is_committed(state: TaskState) -> None:
    """INV-3."""
    state.put(lists, "a", ONE)
    state.put(longs, 5, TWO)
    assert state.pending() == 2
    changes = state.changes()
    assert state._backend is not None
    assert state._backend.get(CHANGELOG.topic, b"a") is None
    assert {change.changelog: [key for key, _ in change.rows] for change in changes} == {
        CHANGELOG: [b"a"],
        LONGS: [b"\x00" * 7 + b"\x05"],
    }
    state.committed(changes, {CHANGELOG.topic: 1, LONGS.topic: 9})
    assert state._backend.get(CHANGELOG.topic, b"a") == ITEMS.encode([ONE])[0]
    assert state.sources() == {CHANGELOG: 1, LONGS: 9, ROWS: None}
    assert state.pending() == 0


def test_what_is_discarded_was_never_there(state: TaskState) -> None:
    state.put(lists, "a", ONE)
    state.committed(state.changes(), {})
    state.put(lists, "a", TWO)
    state.put(lists, "b", TWO)
    state.discard()
    assert (state.get(lists, "a"), state.get(lists, "b"), state.changes()) == (ONE, None, [])


def test_a_store_and_a_table_of_the_same_name_do_not_share_rows(state: TaskState) -> None:
    state.put(lists, "a", ONE)
    state.committed(state.changes(), {CHANGELOG.topic: 3})
    assert state.get(rows, "a") is None
    assert state.sources()[ROWS] is None
    state.follow(ROWS, [row(b"a", Appended(key="a", n=1, size=1))], 5)
    assert state.get(lists, "a") == ONE
    assert state.sources() == {CHANGELOG: 3, LONGS: None, ROWS: 5}


def test_deletions_are_rows_too(state: TaskState) -> None:
    state.put(lists, "a", ONE)
    state.committed(state.changes(), {})
    state.put(lists, "a", None)
    assert state.get(lists, "a") is None
    [change] = state.changes()
    assert change.rows == [(b"a", None)]
    state.committed([change], {})
    assert state._backend is not None
    assert state._backend.get(CHANGELOG.topic, b"a") is None


def test_a_row_that_is_read_replaces_the_cached_one(state: TaskState) -> None:
    for n in (1, 2):
        state.follow(ROWS, [row(b"a", Appended(key="a", n=n, size=1))], n)
        found = state.get(rows, "a")
        assert found is not None
        assert found.n == n
    state.follow(ROWS, [row(b"a", None)], 3)
    assert state.get(rows, "a") is None


@pytest.mark.parametrize("key", [b"\xff\xfe", None])
def test_a_row_whose_key_is_of_another_kind_is_nobodys_fault(state: TaskState, key: bytes | None) -> None:
    """Whoever writes the table's topic must not be able to end its readers."""
    state.follow(ROWS, [row(key, Appended(key="a", n=1, size=1)), row(b"a", Appended(key="a", n=2, size=1))], 2)
    found = state.get(rows, "a")
    assert found is not None
    assert found.n == 2
    assert state.get(rows, "") is None
    assert state.sources()[ROWS] == 2


@pytest.mark.parametrize(
    ("store", "key"), [(lists, 5), (lists, b"a"), (lists, "\ud800"), (longs, "a"), (longs, 1 << 63)]
)
def test_a_key_without_bytes_is_refused_where_it_is_put(state: TaskState, store: Any, key: Any) -> None:
    """INV-4: found at the commit it would be the worker's end, again and again, and not the record's."""
    with pytest.raises((ValueError, TypeError)):
        state.put(store, key, ONE)
    with pytest.raises((ValueError, TypeError)):
        state.get(store, key)
    assert state.pending() == 0


def test_a_value_that_does_not_encode_is_told_at_the_commit(state: TaskState) -> None:
    state.put(lists, "a", Items.model_construct(items=("x",)))
    with pytest.raises(EncodeError):
        state.changes()


def test_misuse_is_the_programs_fault(state: TaskState) -> None:
    with pytest.raises(UsageError, match="is a table"):
        state.put(rows, "a", None)  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(UsageError, match="holds Items, not Appended"):
        state.put(lists, "a", Appended(key="a", n=1, size=1))  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(UsageError, match="does not declare"):
        state.get(App("other").store("s", str, Items), "a")
    with pytest.raises(UsageError, match="does not declare"):
        TaskState().get(lists, "a")


def test_many_keys_at_once_are_as_many_one_by_one(state: TaskState) -> None:
    state.put(lists, "a", ONE)
    mark = state.mark()
    state.put_many(lists, [("a", TWO), ("b", ONE), ("b", TWO), ("c", None)])
    assert state.get_many(lists, iter("abcd")) == [TWO, TWO, None, None]
    assert [state.get(lists, key) for key in "abcd"] == [TWO, TWO, None, None]
    assert state.pending() == 3
    state.rollback(mark)
    assert state.get_many(lists, "ab") == [ONE, None]
    assert state.pending() == 1


def test_frames_are_values_that_are_encoded_already(state: TaskState) -> None:
    """Columns put frames: objects, frames and committed rows of one store are the same values, however they came."""
    codec = state.codec(lists)
    one, two = codec.encode([ONE, TWO])
    state.put(lists, "a", ONE)
    assert state.get_frames(lists, ["a", "b"]) == [one, None]
    state.put_frames(lists, {"b": two, "c": two})
    mark = state.mark()
    state.put_frames(lists, {"a": two, "d": one})
    assert state.get_many(lists, "abcd") == [state.get(lists, key) for key in "abcd"] == [TWO, TWO, TWO, ONE]
    state.rollback(mark)
    state.put(lists, "c", None)
    assert state.get_many(lists, "abcd") == [ONE, TWO, None, None]
    changes = state.changes()
    assert changes[0].rows == [(b"a", one), (b"b", two), (b"c", None)]
    state.committed(changes, {CHANGELOG.topic: 3})
    assert dict(state.items(lists)) == {"a": ONE, "b": TWO}
    state.follow(CHANGELOG, [Record(CHANGELOG.topic, key.encode(), one, 0, 0, 3) for key in "ac"], 5)
    assert state.get_frames(lists, list("abcd")) == [one, two, one, None]
    assert state.get(lists, "b") == TWO
    with pytest.raises(UsageError, match="is a table"):
        state.put_frames(rows, {"a": one})  # type: ignore[arg-type] # wrong on purpose


def test_bytes_of_a_store_of_bytes_are_no_frames(tmp_path: Path) -> None:
    blobs = App("blobs").store("blobs", str, bytes)
    backend = Backend(tmp_path, ["blobs"])
    state = TaskState(backend, {blobs: TopicPartition("blobs", 0)}, {blobs: Codec(bytes, 1)})
    state.put(blobs, "a", b"not a frame")
    assert state.get(blobs, "a") == b"not a frame"
    state.put_many(blobs, {"b": b""}.items())
    state.committed(state.changes(), {"blobs": 2})
    assert dict(state.items(blobs)) == {"a": b"not a frame", "b": b""}
    assert state.get_many(blobs, "ab") == [b"not a frame", b""]


def test_of_many_keys_none_is_put_where_one_cannot_be(state: TaskState) -> None:
    wrong = Appended(key="a", n=1, size=1)
    with pytest.raises(UsageError, match="holds Items, not Appended"):
        state.put_many(lists, [("a", ONE), ("b", wrong)])  # type: ignore[list-item] # wrong on purpose
    with pytest.raises(ValueError, match="64-bit"):
        state.put_many(longs, [(1, ONE), (1 << 64, TWO)])
    with pytest.raises(UsageError, match="is a table"):
        state.put_many(rows, [("a", None)])  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(HandlerError, match="partition 7"):
        state.get_many(rows, ["near", "far away"])
    assert state.pending() == 0


def test_a_key_of_another_partition_is_its_records_fault(state: TaskState) -> None:
    with pytest.raises(HandlerError, match="partition 7"):
        state.get(rows, "far away")
    assert state.get(rows, "near") is None


def test_a_wipe_forgets_rows_and_positions(state: TaskState) -> None:
    state.put(lists, "a", ONE)
    state.committed(state.changes(), {CHANGELOG.topic: 3})
    state.wipe()
    assert state._backend is not None
    assert state._backend.get(CHANGELOG.topic, b"a") is None
    assert set(state.sources().values()) == {None}


@pytest.mark.parametrize(
    ("partitions", "expected"), [(1, CACHE_BYTES), (4, CACHE_BYTES), (1_000, CACHED_BYTES // 1_000)]
)
def test_the_caches_of_many_partitions_share_a_budget(tmp_path: Path, partitions: int, expected: int) -> None:
    app = App("cached")
    source, kept = app.topic("in", Item, key="key", partitions=partitions), app.store("kept", str, Items)

    @app.processor(source, uses=[kept], on_failure=SKIP)
    def handle(item: Item, _ctx: Context) -> None:
        del item

    processor = app.processors["handle"]
    codecs = {topic: Codec(Items, 1) for topic in processor.state().values()}
    state = open_state(processor, codecs, 0, tmp_path, lambda names: Backend(tmp_path, names))
    for number in range(2 * expected // 250):
        state.get(kept, f"absent {number}")
    overlay = state._members[kept].overlay
    assert expected * 0.8 <= overlay._cached <= expected
    state.close()
