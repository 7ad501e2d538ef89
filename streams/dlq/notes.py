"""Notes: what was done with each dead letter, in the processor's redrive topic, in the transaction that did it.

A dead letter is open while no committed note names it, so a run that was killed is simply started again.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple

from streams.dlq.letter import DEAD_LETTER, Letter, Place, read_place
from streams.failures.dead_letters import ORIGIN, REDRIVES
from streams.failures.redrives import COMMAND
from streams.record import RawRecord, Record

REDRIVEN, DROPPED = "redriven", "dropped"


class Names(NamedTuple):
    """The topics of a processor's group that hold what it did not deal with."""

    group: str

    @property
    def dead_letters(self) -> str:
        """Where refused records lie."""
        return f"{self.group}.dlq"

    @property
    def waiting(self) -> str:
        """Where the rows of waiting and parked records lie."""
        return f"{self.group}.waiting"

    @property
    def redrive(self) -> str:
        """Where re-driven records, commands and notes lie."""
        return f"{self.group}.redrive"


class Note(NamedTuple):
    """What was done with a dead letter."""

    place: Place
    action: str
    value: bytes | None

    @property
    def audit(self) -> dict[str, Any]:
        """Who did it, when, in which job, as far as it can be read."""
        try:
            read = json.loads(self.value or b"")
        except (ValueError, RecursionError):
            return {}
        return read if isinstance(read, dict) else {}


class Audit(NamedTuple):
    """Who does something, when, in which job, where to, and what the choice was."""

    who: str
    when: str
    job: str
    target: str
    filter: str

    def encode(self) -> bytes:
        """Return the value of a note or a command."""
        return json.dumps(self._asdict(), ensure_ascii=False).encode()


def somebody() -> str:
    """Return user@host of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user needs no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def again(letter: Letter, topic: str, *, noted: bool) -> RawRecord:
    """Return the record to send: key, value, timestamp and own headers as they were, with its origin and count.

    `noted`: it goes to the processor alone, and names its dead letter.
    """
    original = letter.original
    origin = f"{original.topic}/{original.partition}/{original.offset}".encode()
    added = [(ORIGIN, origin), (REDRIVES, str(letter.redrives + 1).encode())]
    if noted:
        added.append((DEAD_LETTER, str(letter.place).encode()))
    return original._replace(topic=topic, offset=-1, headers=(*original.headers, *added))


def note(letter: Letter, topic: str, action: str, audit: bytes, now_ms: int) -> RawRecord:
    """Return the note of what is done with a dead letter."""
    headers = ((COMMAND, action.encode()), (DEAD_LETTER, str(letter.place).encode()))
    return Record(topic, letter.original.key, audit, now_ms, letter.place.partition, headers=headers)


def read_note(record: RawRecord) -> Note | None:
    """Read a record of the redrive topic; None if it says nothing of a dead letter."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    action = headers.get(COMMAND, REDRIVEN)
    if DEAD_LETTER not in headers or action not in {REDRIVEN, DROPPED}:
        return None
    try:
        place = read_place(headers[DEAD_LETTER])
    except ValueError:
        return None
    return Note(place, action, record.value if COMMAND in headers else None)


def settled(records: Iterable[RawRecord]) -> dict[Place, str]:
    """Return what was done last with each dead letter that is no longer open."""
    notes = filter(None, map(read_note, records))
    return {found.place: found.action for found in notes}
