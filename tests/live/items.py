"""Items that go through whole, and what came out by key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from live.events import Item
from live.workers import Live
from streams.record import RawRecord

KEYS = [f"key {number}" for number in range(12)]
PER_KEY = 25


def good(live: Live) -> list[RawRecord]:
    """Make items that no processor refuses, each key's in order."""
    return [live.item(key, n) for n in range(PER_KEY) for key in KEYS]


def by_key(items: Iterable[Item]) -> dict[str, list[int]]:
    """Return the numbers of each key in the order of the items."""
    found = defaultdict(list)
    for item in items:
        found[item.key].append(item.n)
    return found
