"""The suite for state stores over stores that are broken, each in one way."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from conformance_support import caught, checks
from sound_stores import DictStore, DiskFullError, FileStore, FileStoreConformance, Kept

from streams.state.protocol import Rows, StateStore
from streams.testing.conformance.state_store import StateStoreConformance


class ForgetsDeletions(DictStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write({n: [(k, v) for k, v in rows if v is not None] for n, rows in changes.items()}, positions)


class TakesEmptyForDeleted(DictStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write({n: [(k, v or None) for k, v in rows] for n, rows in changes.items()}, positions)


class SharesNames(DictStore):
    def get(self, _name: str, key: bytes) -> bytes | None:
        return super().get("", key)

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write({"": [row for rows in changes.values() for row in rows]}, positions)


class FirstRowCounts(DictStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write({n: dict(reversed(list(rows))).items() for n, rows in changes.items()}, positions)


class ListsForeignRows(DictStore):
    def items(self, _name: str, _after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, value) for (_, key), value in self.rows.items()])


class ListsTheFirstRow(DictStore):
    def items(self, name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(super().items(name, after))[:1])


class GoesOnWithTheKeyItself(DictStore):
    def items(self, name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter([row for row in super().items(name) if after is None or row[0] >= after])


class FindsNoPlaceBehindAGap(DictStore):
    """Its order is that in which keys came, so a key that is gone has no place in it."""

    def items(self, name: str, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        rows = [(key, value) for (of, key), value in self.rows.items() if of == name]
        keys = [key for key, _ in rows]
        return iter(rows[keys.index(after) + 1 if after in keys else 0 :])


class CutsKeys(DictStore):
    def get(self, name: str, key: bytes) -> bytes | None:
        return super().get(name, key[:511])

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write({n: [(k[:511], v) for k, v in rows] for n, rows in changes.items()}, positions)


class EndsKeysAtNul(DictStore):
    def get(self, name: str, key: bytes) -> bytes | None:
        return super().get(name, key.rstrip(b"\0"))

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write({n: [(k.rstrip(b"\0"), v) for k, v in rows] for n, rows in changes.items()}, positions)


class CutsValues(DictStore):
    def get(self, name: str, key: bytes) -> bytes | None:
        found = super().get(name, key)
        return found and found[: 1 << 20]


class LendsItsMemory(DictStore):
    def get(self, name: str, key: bytes) -> Any:
        found = super().get(name, key)
        return None if found is None else memoryview(found)


class WritesTwice(DictStore):
    """Rows first, then positions, and nothing takes the rows back."""

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        for name, rows in changes.items():
            for row in rows:
                super().write({name: [row]}, {})
        super().write({}, positions)


class PositionsFirst(DictStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        self.positions.update(positions)
        super().write(changes, positions)


class PositionsOnlyRise(DictStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write(changes, {n: max(at, self.positions.get(n, at)) for n, at in positions.items()})


class ForgetsOtherPositions(DictStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write(changes, positions)
        self.positions = dict(positions)


class PositionZeroIsNone(DictStore):
    def position(self, name: str) -> int | None:
        return super().position(name) or None


class WipesRowsOnly(DictStore):
    def wipe(self) -> None:
        self.rows = {}


class KeepsTheRowsItWasGiven(DictStore):
    """Applies them at the next read."""

    waiting: tuple[Mapping[str, Rows], Mapping[str, int]] = ({}, {})

    def get(self, name: str, key: bytes) -> bytes | None:
        waiting, self.waiting = self.waiting, ({}, {})
        super().write(*waiting)
        return super().get(name, key)

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        super().write(*self.waiting)
        self.waiting = changes, positions


class ReadsLate(DictStore):
    """A reader that sees the state before the last write."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[str, bytes], bytes] = {}

    def get(self, name: str, key: bytes) -> bytes | None:
        return self.seen.get((name, key))

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        self.seen = self.rows
        super().write(changes, positions)


class OneForAll(DictStore):
    """All folders share one."""

    kept: Kept = ({}, {})

    def __init__(self) -> None:
        self.rows, self.positions = OneForAll.kept

    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        self.rows, self.positions = OneForAll.kept
        super().write(changes, positions)
        OneForAll.kept = self.rows, self.positions

    def get(self, name: str, key: bytes) -> bytes | None:
        return OneForAll.kept[0].get((name, key))

    def wipe(self) -> None:
        OneForAll.kept = {}, {}
        super().wipe()

    def close(self) -> None:
        OneForAll.kept = {}, {}


MODEL = "test_it_behaves_like_a_dictionary"  # finds most of these too, but takes its time to say it briefly
BROKEN = [
    ForgetsDeletions,
    TakesEmptyForDeleted,
    SharesNames,
    FirstRowCounts,
    ListsForeignRows,
    ListsTheFirstRow,
    GoesOnWithTheKeyItself,
    FindsNoPlaceBehindAGap,
    CutsKeys,
    EndsKeysAtNul,
    CutsValues,
    LendsItsMemory,
    WritesTwice,
    PositionsFirst,
    PositionsOnlyRise,
    ForgetsOtherPositions,
    PositionZeroIsNone,
    WipesRowsOnly,
    KeepsTheRowsItWasGiven,
    ReadsLate,
    OneForAll,
]


@pytest.mark.parametrize("store", BROKEN, ids=lambda store: store.__name__)
def test_a_broken_store_is_caught(store: type[DictStore], tmp_path: Path) -> None:
    class Suite(StateStoreConformance):
        def open(self, _folder: Path, _names: Sequence[str]) -> StateStore:
            return store()

    found = caught(Suite, tmp_path, [MODEL])
    print(f"{store.__name__}: {found}")
    assert found


@pytest.mark.parametrize("store", [PositionsFirst, WipesRowsOnly])
def test_the_model_finds_what_no_check_was_written_for(store: type[DictStore], tmp_path: Path) -> None:
    class Suite(StateStoreConformance):
        def open(self, _folder: Path, _names: Sequence[str]) -> StateStore:
            return store()

    everything = set(checks(Suite)) - {MODEL}
    assert caught(Suite, tmp_path, everything)


class SavesWhenClosed(FileStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        DictStore.write(self, changes, positions)
        if self.full:
            raise DiskFullError

    def close(self) -> None:
        self.save()


class SavesInPlace(FileStore):
    """A kill finds half a file."""

    def save(self) -> None:
        data = pickle.dumps((self.rows, self.positions))
        with self.file.open("wb") as file:
            for at in range(0, len(data), 64):
                file.write(data[at : at + 64])
                file.flush()
        if self.full:
            raise DiskFullError


class SavesInTwoSteps(FileStore):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.at = folder / "positions"
        if self.at.exists():
            self.positions = pickle.loads(self.at.read_bytes())

    def save(self) -> None:
        self.file.write_bytes(pickle.dumps((self.rows, self.positions)))
        if self.full:
            raise DiskFullError
        self.at.write_bytes(pickle.dumps(self.positions))


class LeavesTheFailedWrite(FileStore):
    def write(self, changes: Mapping[str, Rows], positions: Mapping[str, int]) -> None:
        DictStore.write(self, changes, positions)
        self.save()


class WipesTheMemoryOnly(FileStore):
    def wipe(self) -> None:
        DictStore.wipe(self)


class BelongsToItsNames(FileStore):
    """Throws everything away when the names change."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        super().__init__(folder)
        known = folder / "names"
        if known.exists() and known.read_text() != str(names):
            self.wipe()
        known.write_text(str(names))


class SavesWhenClosedConformance(FileStoreConformance):
    def open(self, folder: Path, _names: Sequence[str]) -> StateStore:
        return SavesWhenClosed(folder)


class SavesInPlaceConformance(FileStoreConformance):
    def open(self, folder: Path, _names: Sequence[str]) -> StateStore:
        return SavesInPlace(folder)


class SavesInTwoStepsConformance(FileStoreConformance):
    def open(self, folder: Path, _names: Sequence[str]) -> StateStore:
        return SavesInTwoSteps(folder)


class LeavesTheFailedWriteConformance(FileStoreConformance):
    def open(self, folder: Path, _names: Sequence[str]) -> StateStore:
        return LeavesTheFailedWrite(folder)


class WipesTheMemoryOnlyConformance(FileStoreConformance):
    def open(self, folder: Path, _names: Sequence[str]) -> StateStore:
        return WipesTheMemoryOnly(folder)


class BelongsToItsNamesConformance(FileStoreConformance):
    def open(self, folder: Path, names: Sequence[str]) -> StateStore:
        return BelongsToItsNames(folder, names)


@pytest.mark.parametrize(
    ("suite", "by"),
    [
        (SavesWhenClosedConformance, "test_a_killed_process_leaves_whole_writes"),
        (LeavesTheFailedWriteConformance, "test_a_write_that_fails_half_way_leaves_nothing"),
        (WipesTheMemoryOnlyConformance, "test_a_wipe_outlives_the_store"),
        (BelongsToItsNamesConformance, "test_a_name_more_takes_nothing_from_the_others"),
        (SavesInPlaceConformance, "test_a_write_that_failed_leaves_nothing_for_the_next_start"),
        (SavesInTwoStepsConformance, "test_a_write_that_failed_leaves_nothing_for_the_next_start"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_store_that_breaks_its_promises_is_caught(
    suite: type[StateStoreConformance], by: str, tmp_path: Path
) -> None:
    found = caught(suite, tmp_path, [MODEL])
    print(f"{suite.__name__}: {found}")
    assert by in found
