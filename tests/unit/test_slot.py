"""The lasting identity of a worker process."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from streams.errors import StreamsError
from streams.slot import Slot


def test_the_same_slot_comes_back_with_the_same_identity(tmp_path: Path) -> None:
    slot = Slot(tmp_path, "shop", "count")
    number, identity = slot.number, slot.identity
    slot.release()
    again = Slot(tmp_path, "shop", "count")
    assert (again.number, again.identity) == (number, identity)
    assert identity.startswith("shop-count-0-")
    again.release()


def test_another_process_takes_the_lowest_free_slot(tmp_path: Path) -> None:
    first, second, third = (Slot(tmp_path, "shop", "count") for _ in range(3))
    assert [slot.number for slot in (first, second, third)] == [0, 1, 2]
    assert len({slot.identity for slot in (first, second, third)}) == 3
    second.release()
    slot = Slot(tmp_path, "shop", "count")
    assert slot.number == 1
    for held in (first, slot, third):
        held.release()


def test_processors_have_slots_of_their_own(tmp_path: Path) -> None:
    one, two = Slot(tmp_path, "shop", "count"), Slot(tmp_path, "shop", "other")
    assert (one.number, two.number) == (0, 0)
    assert one.partition(3) == tmp_path / "shop" / "count" / "slot-0" / "part-3"
    one.release()
    two.release()


def test_a_lost_id_is_made_anew(tmp_path: Path) -> None:
    slot = Slot(tmp_path, "shop", "count")
    slot.release()
    (slot.path / "id").write_text("")
    again = Slot(tmp_path, "shop", "count")
    assert len(again.identity) == len(slot.identity)
    assert again.identity != slot.identity
    again.release()


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "state", "shop", "count")
    slot.release()
    made = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in made} == {
        "state": "0o700",
        "shop": "0o700",
        "count": "0o700",
        "slot-0": "0o700",
        "id": "0o600",
    }


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StreamsError, match="state folder cannot be used") as raised:
        Slot(tmp_path / "state", "shop", "count")
    assert "state_dir" in str(raised.value)
