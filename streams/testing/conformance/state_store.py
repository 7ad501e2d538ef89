"""The suite for a state store: whatever keeps a task's rows has to pass it (INV-3)."""

# ruff: noqa: D102, PLR2004 - the name of a check says what it checks, with figures of its own
from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from streams.state.protocol import Rows, StateStore
from streams.testing.conformance.base import Conformance
from streams.testing.conformance.killed import KEYS, killed_after, rows_after

ORDERS, USERS = "shop.orders-by-user", "users"
NAMES = (ORDERS, USERS)
TRICKY_KEYS = [b"", b"\0", b"k", b"K", b"k\0", b"kk", b"\xff", b"\xff" * 16, "größe".encode(), b"k" * 600, b"k" * 601]


@dataclass(frozen=True)
class StateStoreFeatures:
    """What a store claims.

    `persistent`: opened again in the same folder after `close`, it has what was written, and may have got more names.
    `survives_kill`: so it does after SIGKILL, with each write as a whole or not at all; the suite's class then has to
    lie at the top level of a module, for another process imports it.
    `can_fail`: the suite overrides `failing`.
    """

    persistent: bool = False
    survives_kill: bool = False
    can_fail: bool = False
    longest_key: int = 64 << 10
    largest_value: int = 8 << 20


class StateStoreConformance(Conformance, ABC):
    """Subclass it as `Test…`, set `features`, give `open`."""

    features: ClassVar[StateStoreFeatures] = StateStoreFeatures()

    @abstractmethod
    def open(self, folder: Path, names: Sequence[str]) -> StateStore:
        """Open the store of one task under a folder, which may not exist yet, for these names."""

    def failing(self, store: StateStore) -> AbstractContextManager[object]:
        """Let writes fail half-way while the context lasts; with `can_fail` it has to be overridden."""
        assert not self.features.can_fail, f"the feature can_fail needs a way to let {store} fail: override `failing`"
        return nullcontext()

    @contextmanager
    def opened(self, folder: Path, names: Sequence[str] = NAMES) -> Iterator[StateStore]:
        """Open the store for a check and close it behind it."""
        store = self.open(folder, names)
        try:
            yield store
        finally:
            store.close()

    # --- rows

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            for name in NAMES:
                self.same((store.get(name, b"k"), store.get(name, b""), store.position(name)), (None, None, None))

    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: [(b"k", b"1"), (b"l", b"2")]}, {})
            self.same([store.get(ORDERS, key) for key in (b"k", b"l", b"m")], [b"1", b"2", None])
            store.write({ORDERS: [(b"k", b"3")]}, {})
            self.same([store.get(ORDERS, key) for key in (b"k", b"l")], [b"3", b"2"])

    def test_a_deleted_key_is_gone_and_can_come_back(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: [(b"k", b"1"), (b"l", b"2")]}, {})
            store.write({ORDERS: [(b"k", None), (b"never", None)]}, {})
            self.same([store.get(ORDERS, key) for key in (b"k", b"l", b"never")], [None, b"2", None])
            store.write({ORDERS: [(b"k", b"3")]}, {})
            self.same(store.get(ORDERS, b"k"), b"3")

    def test_the_last_row_of_a_key_counts(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: [(b"k", b"1"), (b"k", None), (b"k", b"2"), (b"l", b"1"), (b"l", None)]}, {})
            self.same([store.get(ORDERS, key) for key in (b"k", b"l")], [b"2", None])

    def test_an_empty_value_is_not_a_missing_one(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: [(b"k", b""), (b"", b"")]}, {})
            self.same([store.get(ORDERS, key) for key in (b"k", b"", b"l")], [b"", b"", None])

    def test_names_share_no_rows(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: [(b"k", b"order")], USERS: [(b"k", b"user"), (b"l", b"user")]}, {})
            self.same([store.get(name, b"k") for name in NAMES], [b"order", b"user"])
            store.write({USERS: [(b"k", None)]}, {})
            self.same([store.get(name, b"k") for name in NAMES], [b"order", None])
            self.same(store.get(ORDERS, b"l"), None)

    def test_folders_share_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "part-1") as one, self.opened(tmp_path / "part-2") as other:
            one.write({ORDERS: [(b"k", b"1")]}, {ORDERS: 1})
            other.write({ORDERS: [(b"k", b"2")]}, {ORDERS: 2})
            self.same([(s.get(ORDERS, b"k"), s.position(ORDERS)) for s in (one, other)], [(b"1", 1), (b"2", 2)])
            one.wipe()
            self.same((other.get(ORDERS, b"k"), other.position(ORDERS)), (b"2", 2))

    def test_keys_are_told_apart_to_the_last_byte(self, tmp_path: Path) -> None:
        keys = [*TRICKY_KEYS, *(bytes((number,)) for number in range(256))]
        keys += [b"k" * size for size in (255, 256, 510, 511, 512, 1024, 4096, self.features.longest_key)]
        values = {key: b"%d" % number for number, key in enumerate(dict.fromkeys(keys))}
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: values.items()}, {})
            self.same({key: store.get(ORDERS, key) for key in values}, values)
            for key in (key for key in values if len(key) > 200):
                self.same((store.get(ORDERS, key[:-1] + b"x"), store.get(ORDERS, b"x" + key[1:])), (None, None))
            store.write({ORDERS: [(key, None) for key in values]}, {})
            self.same([key for key in values if store.get(ORDERS, key) is not None], [])

    def test_large_values_are_kept_whole(self, tmp_path: Path) -> None:
        size = self.features.largest_value
        values = {b"small": b"s", b"large": bytes(range(256)) * (size // 256), b"k" * 600: b"\xff" * (size // 2)}
        with self.opened(tmp_path / "task") as store:
            for round_ in range(3):
                store.write({ORDERS: values.items()}, {ORDERS: round_})
            self.same(
                {key: store.get(ORDERS, key) == value for key, value in values.items()}, dict.fromkeys(values, True)
            )

    def test_many_rows_are_kept_apart(self, tmp_path: Path) -> None:
        rows = {b"key %d" % number: b"value %d" % number for number in range(20_000)}
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: rows.items()}, {ORDERS: 1})
            store.write({ORDERS: [(b"key %d" % number, None) for number in range(0, 20_000, 2)]}, {ORDERS: 2})
            kept = {key: value for key, value in rows.items() if int(key.split()[1]) % 2}
            found = {key: value for key in rows if (value := store.get(ORDERS, key)) is not None}
            self.same(found == kept, True)  # not the rows: pytest would show 20,000 of them

    def test_items_are_the_rows_that_are_there(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            self.same(dict(store.items(ORDERS)), {})
            keys = [key for key in TRICKY_KEYS if len(key) <= self.features.longest_key]
            store.write({ORDERS: [(key, b"%d" % at) for at, key in enumerate(keys)], USERS: [(b"u", b"")]}, {})
            store.write({ORDERS: [(keys[0], None), (keys[1], b"new")]}, {ORDERS: 7})
            wanted = {key: b"new" if at == 1 else b"%d" % at for at, key in enumerate(keys) if at}
            self.same(sorted(store.items(ORDERS)), sorted(wanted.items()))
            self.same(list(store.items(USERS)), [(b"u", b"")])

    def test_items_go_on_behind_a_key_that_may_be_gone(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            self.same(list(store.items(ORDERS, b"k")), [])
            keys = [key for key in TRICKY_KEYS if len(key) <= self.features.longest_key]
            store.write({ORDERS: [(key, b"1") for key in keys], USERS: [(b"u", b"")]}, {})
            order = [key for key, _ in store.items(ORDERS)]
            for at, key in enumerate(order):
                self.same([behind for behind, _ in store.items(ORDERS, key)], order[at + 1 :])
            for at in range(len(order) - 1, -1, -2):
                store.write({ORDERS: [(order[at], None), (b"added %d" % at, b"2")]}, {})
                behind = [found for found, _ in store.items(ORDERS, order[at]) if not found.startswith(b"added")]
                self.same(behind, [key for key in order[at + 1 :] if store.get(ORDERS, key)])

    def test_values_stay_what_they_were(self, tmp_path: Path) -> None:
        """A value that was handed out is the caller's, whatever is written, wiped or closed later."""
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: [(b"k", b"before" * 100)]}, {})
            found = store.get(ORDERS, b"k")
            store.write({ORDERS: [(b"k", b"after!" * 100)]}, {})
            store.wipe()
        self.same((type(found), found), (bytes, b"before" * 100))

    def test_rows_are_read_once_and_not_kept(self, tmp_path: Path) -> None:
        rows: list[tuple[bytes, bytes | None]] = [(b"k", b"1")]
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: iter(rows), USERS: (row for row in rows)}, {ORDERS: 1})
            rows[:] = [(b"k", b"2")]
            self.same([store.get(name, b"k") for name in NAMES], [b"1", b"1"])

    # --- positions

    def test_positions_are_kept_by_name_as_they_are_given(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            store.write({}, {ORDERS: 5})
            self.same([store.position(name) for name in NAMES], [5, None])
            store.write({USERS: [(b"k", b"1")]}, {USERS: 0})
            self.same([store.position(name) for name in NAMES], [5, 0])
            store.write({ORDERS: [(b"k", b"1")]}, {})
            self.same([store.position(name) for name in NAMES], [5, 0])
            store.write({}, {ORDERS: 3, USERS: 1 << 62})
            self.same([store.position(name) for name in NAMES], [3, 1 << 62])

    def test_rows_and_positions_are_written_together_or_not_at_all(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            self._before(store)
            with pytest.raises(LookupError):
                store.write(
                    {USERS: [(b"k", b"new")], ORDERS: _broken_off([(b"k", b"new"), (b"l", None)])},
                    {ORDERS: 2, USERS: 2},
                )
            self._is_as_before(store)

    def test_a_write_that_fails_half_way_leaves_nothing(self, tmp_path: Path) -> None:
        self.needs("can_fail")
        with self.opened(tmp_path / "task") as store:
            self._before(store)
            with self.failing(store), pytest.raises(Exception):  # noqa: B017, PT011 - whatever the store raises
                store.write({USERS: [(b"k", b"new")], ORDERS: [(b"k", b"new"), (b"l", None)]}, {ORDERS: 2, USERS: 2})
            self._is_as_before(store)
            store.write({ORDERS: [(b"k", b"new")]}, {ORDERS: 2})
            self.same((store.get(ORDERS, b"k"), store.position(ORDERS)), (b"new", 2))

    def test_a_write_that_failed_leaves_nothing_for_the_next_start(self, tmp_path: Path) -> None:
        self.needs("can_fail")
        self.needs("persistent")
        with self.opened(tmp_path / "task") as store:
            self._before(store)
            with self.failing(store), pytest.raises(Exception):  # noqa: B017, PT011 - whatever the store raises
                store.write({ORDERS: [(b"k", b"new"), (b"l", None)]}, {ORDERS: 2, USERS: 2})
        with self.opened(tmp_path / "task") as store:
            self._is_as_before(store)

    def _before(self, store: StateStore) -> None:
        store.write({name: [(b"k", b"old"), (b"l", b"old")] for name in NAMES}, {ORDERS: 1})

    def _is_as_before(self, store: StateStore) -> None:
        self.same([store.get(name, key) for name in NAMES for key in (b"k", b"l")], [b"old"] * 4)
        self.same([store.position(name) for name in NAMES], [1, None])

    # --- the life of a store

    def test_a_wiped_store_is_new(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "task") as store:
            self._before(store)
            store.wipe()
            self.same([store.get(name, b"k") for name in NAMES], [None, None])
            self.same([store.position(name) for name in NAMES], [None, None])
            store.write({ORDERS: [(b"l", b"1")]}, {USERS: 4})
            self.same((store.get(ORDERS, b"l"), store.position(ORDERS), store.position(USERS)), (b"1", None, 4))

    def test_everything_is_there_after_it_was_closed(self, tmp_path: Path) -> None:
        self.needs("persistent")
        rows = {b"%d" % number: b"v" * number for number in range(500)} | {b"k" * 2000: b"long", b"": b"empty"}
        with self.opened(tmp_path / "task") as store:
            store.write({ORDERS: rows.items(), USERS: [(b"k", b"user")]}, {ORDERS: 7})
            store.write({ORDERS: [(b"3", None)]}, {USERS: 9})
        expected = {**rows, b"3": None}
        for _ in range(2):
            with self.opened(tmp_path / "task") as store:
                self.same({key: store.get(ORDERS, key) for key in rows}, expected)
                self.same((store.get(USERS, b"k"), *(store.position(name) for name in NAMES)), (b"user", 7, 9))

    def test_a_wipe_outlives_the_store(self, tmp_path: Path) -> None:
        self.needs("persistent")
        with self.opened(tmp_path / "task") as store:
            self._before(store)
            store.wipe()
        with self.opened(tmp_path / "task") as store:
            self.same((store.get(ORDERS, b"k"), store.position(ORDERS)), (None, None))

    def test_a_name_more_takes_nothing_from_the_others(self, tmp_path: Path) -> None:
        self.needs("persistent")
        with self.opened(tmp_path / "task", [ORDERS]) as store:
            store.write({ORDERS: [(b"k", b"1")]}, {ORDERS: 3})
        with self.opened(tmp_path / "task", ["added", *NAMES]) as store:
            self.same((store.get(ORDERS, b"k"), store.position(ORDERS)), (b"1", 3))
            self.same((store.get("added", b"k"), store.position("added")), (None, None))
            store.write({"added": [(b"k", b"2")]}, {"added": 4})
            self.same((store.get(ORDERS, b"k"), store.get("added", b"k")), (b"1", b"2"))

    @pytest.mark.parametrize("writes", [1, 30, 300])
    def test_a_killed_process_leaves_whole_writes(self, tmp_path: Path, writes: int) -> None:
        self.needs("survives_kill")
        told = killed_after(writes, type(self), tmp_path / "task", NAMES)
        with self.opened(tmp_path / "task") as store:
            position = store.position(ORDERS)
            assert position is not None, "the position was lost"
            self.same(told <= position <= told + 1, True, f"write {told} was done, the position says {position}")
            self.same(store.position(USERS), position)
            for name in NAMES:
                self.same({key: store.get(name, key) for key in KEYS}, rows_after(position))

    def test_it_behaves_like_a_dictionary(self) -> None:
        """Random writes, failures, wipes and restarts, against a model."""
        folder = Path(tempfile.mkdtemp(prefix="state-store-"))
        numbers, suite = count(1), self

        class Machine(_Machine):
            def __init__(self) -> None:
                super().__init__(suite, folder / str(next(numbers)))

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def _broken_off(rows: list[tuple[bytes, bytes | None]]) -> Rows:
    yield from rows
    raise LookupError("the changelog ends here")


_keys = st.sampled_from(TRICKY_KEYS)
_rows = st.lists(st.tuples(_keys, st.none() | st.binary(max_size=20)), max_size=6)
_positions = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 1 << 62))


class _Machine(RuleBasedStateMachine):
    def __init__(self, suite: StateStoreConformance, folder: Path) -> None:
        super().__init__()
        self._suite = suite
        self._folder = folder
        self._store = suite.open(folder, NAMES)
        self._rows: dict[str, dict[bytes, bytes]] = {name: {} for name in NAMES}
        self._positions: dict[str, int] = {}

    @rule(changes=st.dictionaries(st.sampled_from(NAMES), _rows), positions=_positions)
    def write(self, changes: dict[str, list[tuple[bytes, bytes | None]]], positions: dict[str, int]) -> None:
        self._store.write(changes, positions)
        self._positions.update(positions)
        for name, rows in changes.items():
            for key, value in rows:
                self._rows[name].pop(key, None)
                if value is not None:
                    self._rows[name][key] = value

    @precondition(lambda self: self._suite.features.can_fail)
    @rule(changes=st.fixed_dictionaries({ORDERS: _rows.filter(len), USERS: _rows}), positions=_positions)
    def fail(self, changes: dict[str, list[tuple[bytes, bytes | None]]], positions: dict[str, int]) -> None:
        with self._suite.failing(self._store), pytest.raises(Exception):  # noqa: B017, PT011 - whatever it raises
            self._store.write(changes, positions)

    @rule(rows=_rows, positions=_positions)
    def break_off(self, rows: list[tuple[bytes, bytes | None]], positions: dict[str, int]) -> None:
        with pytest.raises(LookupError):
            self._store.write({ORDERS: _broken_off(rows)}, positions)

    @rule()
    def wipe(self) -> None:
        self._store.wipe()
        self._rows = {name: {} for name in NAMES}
        self._positions = {}

    @precondition(lambda self: self._suite.features.persistent)
    @rule()
    def restart(self) -> None:
        self._store.close()
        self._store = self._suite.open(self._folder, NAMES)

    @invariant()
    def is_what_the_model_says(self) -> None:
        for name in NAMES:
            found = {key: value for key in TRICKY_KEYS if (value := self._store.get(name, key)) is not None}
            self._suite.same(found, self._rows[name])
            self._suite.same(self._store.position(name), self._positions.get(name))

    def teardown(self) -> None:
        self._store.close()
