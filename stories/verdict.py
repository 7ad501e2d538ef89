"""What a story came to, beside what it had to come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, TypeVar

H = TypeVar("H", bound=Hashable)


class Difference(NamedTuple):
    """How many records were compared, how many are there too often, and how many are missing."""

    compared: int = 0
    duplicates: int = 0
    lost: int = 0

    def __add__(self, other: object) -> Difference:
        """Add up two comparisons."""
        assert isinstance(other, Difference)
        return Difference(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Verdict(NamedTuple):
    """The figures of a story as they were read back, and how they differ from the expected ones."""

    figures: dict[str, int]
    difference: Difference

    @property
    def holds(self) -> bool:
        """Tell whether something was compared and nothing differs."""
        return self.difference.compared > 0 and self.difference.duplicates == self.difference.lost == 0


def compare(expected: Counter[H], observed: Counter[H]) -> Difference:
    """Compare two multisets."""
    return Difference(observed.total(), (observed - expected).total(), (expected - observed).total())


def compare_rows(expected: Mapping[H, Any], observed: Mapping[H, Any]) -> Difference:
    """Compare two tables: a row that is wrong counts as one too many and one missing."""
    return compare(Counter((key, row) for key, row in expected.items()), Counter((k, r) for k, r in observed.items()))
