"""What was done with a record over all its dead letters: each failure after a re-drive leaves a new one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streams.dlq.letter import Letter, NotALetter, Place
from streams.dlq.notes import read_note
from streams.record import RawRecord


def history(
    letter: Letter, letters: Iterable[Letter | NotALetter], redrive_records: Iterable[RawRecord]
) -> list[dict[str, Any]]:
    """Return what was done with the record of a dead letter, in the order of the times that the notes say.

    `letters` are searched for earlier and later dead letters of the same origin.
    """
    places = {letter.place}
    origin = _origin(letter)
    places.update(other.place for other in letters if isinstance(other, Letter) and _origin(other) == origin)
    found: dict[Place, dict[str, Any]] = {}
    for note in filter(None, map(read_note, redrive_records)):
        if note.place in places and (note.audit or note.place not in found):
            found[note.place] = {"dead_letter": str(note.place), "action": note.action, **note.audit}
    return sorted(found.values(), key=lambda event: str(event.get("when", "")))


def _origin(letter: Letter) -> tuple[str, int, int]:
    return letter.original.topic, letter.original.partition, letter.original.offset
