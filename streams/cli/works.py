"""What `streams dlq redrive` and `drop` may be asked to do: with dead letters, or with keys that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Protocol

from streams.cli.queues import left_out
from streams.cli.waits import waiter_row
from streams.dlq.fields import Describe, now_ms
from streams.dlq.letter import Letter
from streams.dlq.notes import DROPPED, REDRIVEN
from streams.dlq.plan import ORIGIN, Action, Plan, Verdict
from streams.dlq.queue import Queue
from streams.dlq.waiting import Waiter, command
from streams.failures.redrives import DROP

_MOST_MESSAGE = 160  # characters


class Work(Protocol):
    """Something to look at first, and then to do."""

    queue: Queue

    @property
    def things(self) -> str:
        """What is counted: "dead letters"."""

    @property
    def deed(self) -> str:
        """What is done with them, as in "12 dead letters would be dropped"."""

    @property
    def topics(self) -> set[str]:
        """The topics that are written to; known after the survey."""

    def survey(self, stopping: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """Yield a row for each thing that is meant."""

    def actions(self, audit: bytes) -> Iterator[Action]:
        """Yield what to commit for each thing that is still to be done."""

    def remarks(self) -> list[str]:
        """Say what else the survey found, and what to mind."""


class LetterWork:
    """Dead letters that are sent again, or dropped."""

    things = "dead letters"

    def __init__(self, queue: Queue, plan: Plan, describe: Describe) -> None:
        self.queue = queue
        self.topics = {queue.names.redrive}
        self._plan = plan
        self._describe = describe
        self._tally: Counter[Verdict] = Counter()

    @property
    def deed(self) -> str:
        """What is done with them."""
        return DROPPED if self._plan.target is None else REDRIVEN

    def survey(self, stopping: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """Yield a row for each dead letter that is meant."""
        for letter, verdict in self._plan.decide(self.queue.letters(), self.queue.settled()):
            if stopping():
                return
            self._tally[verdict] += 1
            if verdict is Verdict.CHOSEN and isinstance(letter, Letter):
                yield self._row(letter)

    def actions(self, audit: bytes) -> Iterator[Action]:
        """Yield what to commit for each that is still open: the notes are read anew."""
        self.queue.look_again()
        decided = self._plan.decide(self.queue.letters(), self.queue.settled())
        chosen = (letter for letter, verdict in decided if verdict is Verdict.CHOSEN and isinstance(letter, Letter))
        for letter in islice(chosen, self._plan.most):
            yield self._plan.action(letter, audit, now_ms())

    def remarks(self) -> list[str]:
        """Say how many are left as they are, and why."""
        said = [f"{count} {verdict}" for verdict, count in sorted(self._tally.items()) if verdict is not Verdict.CHOSEN]
        if self._tally[Verdict.HELD]:
            said.append("--max-redrives lets go what was held back")
        if self._plan.target == ORIGIN and self._tally[Verdict.CHOSEN]:
            said.append("every processor that reads the origin topic gets them again")
        return [*said, left_out(self._plan.choice.where)]

    def _row(self, letter: Letter) -> dict[str, Any]:
        row: dict[str, Any] = {"dead_letter": str(letter.place)}
        goes_to = self._plan.goes_to(letter)
        if goes_to is not None:
            self.topics.add(goes_to[0])
            row |= {"to": goes_to[0], "partition": goes_to[1], "redrives": letter.redrives + 1}
        key = self._describe(letter.original._replace(value=None))["key"]
        return row | {"key": key, "error": letter.error, "message": letter.message.partition("\n")[0][:_MOST_MESSAGE]}


class WaitWork:
    """Keys that wait and are released, or dropped."""

    things = "keys"

    def __init__(self, queue: Queue, verb: str, waiters: list[Waiter], describe: Describe) -> None:
        self.queue = queue
        self.topics = {queue.names.redrive}
        self._verb = verb
        self._waiters = waiters
        self._describe = describe

    @property
    def deed(self) -> str:
        """What is done with them."""
        return f"given the command {self._verb}"

    def survey(self, stopping: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """Yield a row for each key."""
        for waiter in self._waiters:
            if stopping():
                return
            yield {"command": self._verb, **waiter_row(waiter, self._describe)}

    def actions(self, audit: bytes) -> Iterator[Action]:
        """Yield the commands."""
        for waiter in self._waiters:
            yield command(waiter, self.queue.names.redrive, self._verb, audit, now_ms())

    def remarks(self) -> list[str]:
        """Say what the commands mean."""
        if self._verb == DROP:
            return ["every record of these keys becomes a dead letter, where the processor has a topic for them"]
        return ["the first record of each key is tried at once, and then the others"]
