"""The committed state on disk: atomic, growing, private, and wiped when it cannot be trusted."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.errors import IncompatibleError, StreamsError
from streams.state import backend as module
from streams.state.backend import Backend


def opened(path: Path, boot: str = "one") -> Backend:
    return Backend(path / "state", ["a", "b"], boot_id=boot)


def abandon(backend: Backend) -> None:
    """Leave it as a killed process does, but let this process open it again."""
    backend.release()


def test_rows_and_positions_come_back_after_a_clean_close(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    backend.write({"a": [(b"k", b"v"), (b"gone", b"x")], "b": [(b"k", b"other")]}, {"a": 3})
    backend.write({"a": [(b"gone", None)]}, {"b": 7})
    backend.close()
    backend = opened(tmp_path)
    assert (backend.get("a", b"k"), backend.get("b", b"k"), backend.get("a", b"gone")) == (b"v", b"other", None)
    assert (backend.position("a"), backend.position("b")) == (3, 7)
    backend.close()


def test_a_killed_process_loses_nothing_while_the_machine_runs(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    backend.write({"a": [(b"k", b"v")]}, {"a": 1})
    abandon(backend)
    backend = opened(tmp_path)
    assert (backend.get("a", b"k"), backend.position("a")) == (b"v", 1)
    backend.close()


def test_an_unclean_close_under_another_boot_id_wipes(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    backend.write({"a": [(b"k", b"v")]}, {"a": 1})
    abandon(backend)
    backend = opened(tmp_path, boot="two")
    assert (backend.get("a", b"k"), backend.position("a")) == (None, None)
    backend.close()


def test_a_clean_close_survives_another_boot(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    backend.write({"a": [(b"k", b"v")]}, {"a": 1})
    backend.close()
    backend = opened(tmp_path, boot="two")
    assert (backend.get("a", b"k"), backend.position("a")) == (b"v", 1)
    backend.close()


def test_what_was_reopened_after_a_clean_close_counts_as_unclean_again(tmp_path: Path) -> None:
    opened(tmp_path).close()
    abandon(opened(tmp_path))
    backend = opened(tmp_path)
    backend.write({}, {"a": 1})
    abandon(backend)
    backend = opened(tmp_path, boot="two")
    assert backend.position("a") is None
    backend.close()


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORMAT_VERSION", module.FORMAT_VERSION + 1)
    opened(tmp_path).close()
    monkeypatch.undo()
    with pytest.raises(IncompatibleError, match="newer version"):
        opened(tmp_path)


def test_files_are_private(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "state", *(tmp_path / "state").iterdir()]
    }
    backend.close()
    assert modes == {"state": 0o700, "data.mdb": 0o600, "lock.mdb": 0o600}


def test_the_map_grows_as_far_as_it_has_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_MAP_SIZE", 64 << 10)
    backend = opened(tmp_path)
    for batch in range(8):
        backend.write({"a": [(b"%d-%d" % (batch, n), bytes(1000)) for n in range(100)]}, {"a": batch})
        assert backend.get("a", b"%d-99" % batch) == bytes(1000)
    abandon(backend)
    backend = opened(tmp_path)
    assert backend.get("a", b"0-0") == bytes(1000)
    assert backend.position("a") == 7
    backend.close()


def test_a_full_map_does_not_keep_the_state_from_opening_and_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marks of opening and closing need room too, whatever the rows left of it."""
    monkeypatch.setattr(module, "_FIRST_MAP_SIZE", 64 << 10)
    for size in range(1, 40):
        path = tmp_path / str(size)
        backend = opened(path)
        backend.write({"a": [(b"%d" % n, bytes(1000)) for n in range(size)]}, {"a": 1})
        backend.close()
        backend = opened(path)
        assert backend.position("a") == 1
        backend.close()


def test_unreadable_files_are_wiped(tmp_path: Path) -> None:
    """A machine that went down may leave anything behind; the changelogs have it all."""
    opened(tmp_path).close()
    (tmp_path / "state" / "data.mdb").write_bytes(b"\xff" * 16_384)
    backend = opened(tmp_path)
    assert backend.position("a") is None
    backend.write({"a": [(b"k", b"v")]}, {"a": 1})
    assert backend.get("a", b"k") == b"v"
    backend.close()


@pytest.mark.parametrize(("hours", "kept"), [(11, 5), (13, None)])
def test_state_that_rested_longer_than_tombstones_live_is_wiped(tmp_path: Path, hours: int, kept: int | None) -> None:
    """INV-3: a key that another owner deleted meanwhile would come back once its tombstone is compacted away."""
    backend = opened(tmp_path)
    backend.write({"a": [(b"k", b"v")]}, {"a": 5})
    backend.close()
    then = time.time() - hours * 3600
    os.utime(tmp_path / "state" / "data.mdb", (then, then))
    backend = opened(tmp_path)
    assert backend.position("a") == kept
    backend.close()


@pytest.mark.parametrize("length", [0, 1, 509, 510, 511, 512, 5_000])
def test_keys_of_every_length(tmp_path: Path, length: int) -> None:
    backend = opened(tmp_path)
    key, near = b"k" * length, b"k" * (length + 1)
    backend.write({"a": [(key, b"v")]}, {})
    assert backend.get("a", key) == b"v"
    assert backend.get("a", near) is None
    backend.write({"a": [(key, b"")]}, {})
    assert backend.get("a", key) == b""
    backend.write({"a": [(key, None), (near, None)]}, {})
    assert backend.get("a", key) is None
    backend.close()


@given(
    batches=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([b"", b"k", b"\x00meta", b"\x00positions", b"L" * 600, b"M" * 511]),
                st.none() | st.binary(max_size=20),
            ),
            max_size=6,
        ),
        max_size=6,
    )
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_behaves_like_a_dictionary(
    batches: list[list[tuple[bytes, bytes | None]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("state")
    backend = opened(path)
    expected: dict[bytes, bytes] = {}
    for index, batch in enumerate(batches):
        backend.write({"a": batch}, {"a": index})
        for key, value in batch:
            expected.pop(key, None)
            if value is not None:
                expected[key] = value
        if index % 2:
            abandon(backend)
            backend = opened(path)
        assert {key: backend.get("a", key) for key in expected} == expected
        assert backend.position("a") == index
    backend.close()


def test_a_failed_write_leaves_rows_and_positions_as_they_were(tmp_path: Path) -> None:
    """INV-3: one write, all or nothing."""
    backend = opened(tmp_path)
    backend.write({"a": [(b"k", b"old")]}, {"a": 1})
    with pytest.raises(TypeError):
        backend.write({"a": [(b"k", b"new"), (b"bad", 5)]}, {"a": 2})  # type: ignore[list-item] # wrong on purpose
    assert (backend.get("a", b"k"), backend.position("a")) == (b"old", 1)
    backend.close()


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = opened(tmp_path)

    def full(*_: object) -> None:
        raise lmdb.DiskError("no space left")

    monkeypatch.setattr(backend, "_put", full)
    with pytest.raises(StreamsError, match="could not be written"):
        backend.write({"a": [(b"k", b"v")]}, {})
    backend.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StreamsError, match="cannot be opened"):
        opened(tmp_path)


def test_the_meta_row_says_its_format_from_the_first_day(tmp_path: Path) -> None:
    backend = opened(tmp_path)
    with backend._env.begin() as transaction:
        meta = json.loads(transaction.get(b"\x00meta"))
    assert meta == {"format_version": 1, "clean": False, "boot_id": "one"}
    backend.close()
