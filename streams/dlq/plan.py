"""What a re-drive or a drop would do with each dead letter: the same decision for the dry run and for the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from streams.dlq.letter import Letter, NotALetter, Place
from streams.dlq.notes import DROPPED, REDRIVEN, Names, again, note
from streams.dlq.where import Where
from streams.record import RawRecord

MAX_REDRIVES: Final = 3
PROCESSOR, ORIGIN = "processor", "origin"


class Verdict(StrEnum):
    """What becomes of a dead letter."""

    CHOSEN = "chosen"
    LATER = "beyond --max"
    HELD = "held back: sent again too often"
    NOWHERE = "held back: its topic or partition is gone"
    OTHER = "not asked for"
    REDRIVEN = "re-driven already"
    DROPPED = "dropped already"
    FOREIGN = "no dead letter"


class Choice(NamedTuple):
    """Which open dead letters are meant; `since_ms` and `until_ms` (exclusive) bound when they were given up."""

    where: Where | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def uses(self) -> set[str]:
        """The fields that it looks at."""
        return self.where.uses if self.where else set()

    def takes(self, time_ms: int, fields: Callable[[], Mapping[str, Any]]) -> bool:
        """Tell whether something is meant that was given up at this time; `fields` are asked for only if needed."""
        if self.since_ms is not None and time_ms < self.since_ms:
            return False
        if self.until_ms is not None and time_ms >= self.until_ms:
            return False
        return self.where is None or self.where.matches(fields())


class Action(NamedTuple):
    """What is done with one thing: one record or two, committed together; `place` names it if it is a dead letter."""

    place: Place | None
    records: tuple[RawRecord, ...]


class Plan(NamedTuple):
    """A re-drive to `target`, PROCESSOR or ORIGIN, or a drop if there is none; `topics` is what the cluster has."""

    names: Names
    target: str | None
    choice: Choice
    fields: Callable[[Letter], Mapping[str, Any]]
    topics: Mapping[str, int]
    most: int | None = None
    max_redrives: int = MAX_REDRIVES

    def decide(
        self, letters: Iterable[Letter | NotALetter], settled: Mapping[Place, str]
    ) -> Iterator[tuple[Letter | NotALetter, Verdict]]:
        """Yield what becomes of each."""
        chosen = 0
        for letter in letters:
            verdict = self._verdict(letter, settled)
            if verdict is Verdict.CHOSEN:
                if self.most is not None and chosen >= self.most:
                    verdict = Verdict.LATER
                chosen += 1
            yield letter, verdict

    def goes_to(self, letter: Letter) -> tuple[str, int] | None:
        """Return topic and partition that a dead letter is sent to, if it is."""
        if self.target is None:
            return None
        topic = self.names.redrive if self.target == PROCESSOR else letter.original.topic
        return topic, letter.original.partition

    def action(self, letter: Letter, audit: bytes, now_ms: int) -> Action:
        """Return the records to commit for a chosen dead letter: what is sent, and the note."""
        goes_to = self.goes_to(letter)
        if goes_to is None:
            return Action(letter.place, (note(letter, self.names.redrive, DROPPED, audit, now_ms),))
        sent = again(letter, goes_to[0], noted=self.target == PROCESSOR)
        return Action(letter.place, (sent, note(letter, self.names.redrive, REDRIVEN, audit, now_ms)))

    def _verdict(self, letter: Letter | NotALetter, settled: Mapping[Place, str]) -> Verdict:
        if isinstance(letter, NotALetter):
            return Verdict.FOREIGN
        done = settled.get(letter.place)
        if done is not None:
            return Verdict.DROPPED if done == DROPPED else Verdict.REDRIVEN
        if not self.choice.takes(letter.time_ms, lambda: self.fields(letter)):
            return Verdict.OTHER
        goes_to = self.goes_to(letter)
        if goes_to is None:
            return Verdict.CHOSEN
        if goes_to[1] >= self.topics.get(goes_to[0], 0):
            return Verdict.NOWHERE
        return Verdict.HELD if letter.redrives >= self.max_redrives else Verdict.CHOSEN
