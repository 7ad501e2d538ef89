"""Random things that befall the workers of a rig."""

from __future__ import annotations

import random
from typing import ClassVar

from rig import ALL_KINDS, SLOTS, Rig

from streams.errors import AbortedError, FencedError
from streams.testing.faults import ProcessDied
from streams.testing.memory import Outcome


def play(rig: Rig, seed: int, steps: int = 40) -> None:
    """Let random things befall the workers, then let them finish."""
    happening = Happening(rig, random.Random(seed))
    for number in range(SLOTS):
        rig.start(number)
    for _ in range(steps):
        happening.one()
    rig.settle()


class Happening:
    """What can happen, drawn by weight."""

    WEIGHTS: ClassVar[dict[str, int]] = {
        "produce": 6,
        "run": 12,
        "start": 3,
        "move": 3,
        "lose": 3,
        "abort": 3,
        "fence": 1,
        "die": 2,
        "crash": 1,
        "stop": 1,
    }

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self._rig = rig
        self._rng = rng

    def one(self) -> None:
        """Let one thing happen to one slot."""
        [what] = self._rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))
        getattr(self, f"_{what}")(self._rng.randrange(SLOTS))

    def _produce(self, _number: int) -> None:
        rows = [(self._rng.choice("abdf"), self._rng.choice(ALL_KINDS)) for _ in range(self._rng.randint(1, 8))]
        self._rig.produce(rows, self._rng.choice([None, Outcome.COMMITTED, Outcome.ABORTED]))

    def _run(self, number: int) -> None:
        self._rig.spread(number)
        self._rig.run(number, self._rng.randint(1, 6))

    def _start(self, number: int) -> None:
        self._rig.start(number)

    def _move(self, number: int) -> None:
        if number in self._rig.slots:
            self._rig.group.assign([self._rng.choice(list(self._rig.group.owner))], self._rig.slots[number].consumer)

    def _lose(self, number: int) -> None:
        if number in self._rig.slots:
            others = [slot.consumer for other, slot in self._rig.slots.items() if other != number]
            self._rig.group.throw_out(self._rig.slots[number].consumer, self._rng.choice([*others, None]))

    def _abort(self, _number: int) -> None:
        self._rig.chaos.arm(self._rng.randint(0, 12), AbortedError("chaos"))

    def _fence(self, _number: int) -> None:
        self._rig.chaos.arm(self._rng.randint(0, 12), FencedError("chaos"))

    def _die(self, _number: int) -> None:
        self._rig.chaos.arm(self._rng.randint(0, 12), ProcessDied())

    def _crash(self, number: int) -> None:
        self._rig.crash(number)

    def _stop(self, number: int) -> None:
        self._rig.stop(number)
