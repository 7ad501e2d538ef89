"""Dead letters grouped by what went wrong, so that a thousand of them are told in a few lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from streams.dlq.letter import Letter, Place

MOST_GROUPS: Final = 1_000
OTHERS: Final = "(other messages)"
_MOST_MESSAGE: Final = 160  # characters

_VARIABLE: Final = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\b(?:0x[0-9a-fA-F]+|(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12,})\b"), "<hex>"),
    (re.compile(r"\d+(?:\.\d+)?"), "<n>"),
)


class What(NamedTuple):
    """What the dead letters of a group have in common; `error` is the defect of a frame, or the exception's class."""

    stage: str
    error: str
    message: str
    handler: str


@dataclass
class Group:
    """How many there are, when the first and the last were given up, and where the last lies."""

    count: int
    first_ms: int
    last_ms: int
    example: Place

    def add(self, letter: Letter) -> None:
        """Count one more."""
        self.count += 1
        self.first_ms = min(self.first_ms, letter.time_ms)
        if letter.time_ms >= self.last_ms:
            self.last_ms, self.example = letter.time_ms, letter.place


def normalised(message: str) -> str:
    """Return the first line of a message with numbers, UUIDs and hashes taken out."""
    line = message.strip().partition("\n")[0]
    for pattern, instead in _VARIABLE:
        line = pattern.sub(instead, line[: _MOST_MESSAGE * 4])
    return line if len(line) <= _MOST_MESSAGE else line[: _MOST_MESSAGE - 1] + "…"


def grouped(letters: Iterable[Letter]) -> dict[What, Group]:
    """Group dead letters by their error, the largest group first; messages without end share a group."""
    found: dict[What, Group] = {}
    for letter in letters:
        what = What(letter.stage, letter.error, normalised(letter.message), letter.handler)
        if what not in found and len(found) >= MOST_GROUPS:
            what = what._replace(message=OTHERS)
        if what in found:
            found[what].add(letter)
        else:
            found[what] = Group(1, letter.time_ms, letter.time_ms, letter.place)
    return dict(sorted(found.items(), key=lambda item: (-item[1].count, item[0])))
