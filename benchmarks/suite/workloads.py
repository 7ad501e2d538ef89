"""What is asked of every contender: an input, what has to come of it, and under which guarantee.

A new workload is a line of `WORKLOADS`; a new kind of work is a function of `reference.py` and one in each program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Guarantee = Literal["exactly_once", "at_least_once"]
Kind = Literal["map", "filter", "fan_out", "convert", "poison", "count", "group"]
COUNTING: tuple[Kind, ...] = ("count", "group")

EXACTLY_ONCE: Guarantee = "exactly_once"
AT_LEAST_ONCE: Guarantee = "at_least_once"
SECOND = "_at_least_once"


@dataclass(frozen=True)
class Input:
    """A topic that is filled once, always with the same records, and read by everybody.

    With `each_once` every record has a key of its own; `words` make the text of a post.
    """

    schema: Literal["Post", "ActivePowerRecord"] = "Post"
    partitions: int = 4
    keys: int = 10_000
    zipf: bool = False
    words: int = 9
    poison_percent: int = 0
    each_once: bool = False

    def topic(self, records: int) -> str:
        """Return the topic's name, which tells all that its content depends on."""
        parts = (self.schema.lower(), f"{records}r", f"{self.partitions}p", f"{self.keys}k", f"{self.words}w")
        marks = {"zipf": self.zipf, f"{self.poison_percent}bad": self.poison_percent, "once": self.each_once}
        return "-".join((*parts, *(mark for mark, there in marks.items() if there)))


@dataclass(frozen=True)
class Workload:
    """Work on an input."""

    name: str
    kind: Kind
    title: str
    output: Literal["Headline", "Post", "Stored", "Count"] = "Headline"
    guarantee: Guarantee = EXACTLY_ONCE
    input: Input = field(default_factory=Input)
    options: Mapping[str, Any] = field(default_factory=dict)


_POSTS = Input()
_EXACT = (
    Workload("map_half", "map", "every second post becomes a headline"),
    *(
        Workload(f"filter_{percent}", "filter", f"{percent} % of the posts pass", "Post", options={"percent": percent})
        for percent in (1, 10, 50)
    ),
    Workload("fan_out_5", "fan_out", "each post becomes five headlines", options={"copies": 5}),
    Workload("poison_1", "poison", "map_half with 1 % of the frames broken", input=replace(_POSTS, poison_percent=1)),
    Workload(
        "theodolite_uc1", "convert", "Theodolite UC1: measurements as JSON", "Stored", input=Input("ActivePowerRecord")
    ),
    *(
        Workload(
            f"count_{told}_{'zipf' if zipf else 'uniform'}",
            "count",
            f"posts counted by author, {told} authors, {'zipf' if zipf else 'uniform'}",
            "Count",
            input=replace(_POSTS, keys=keys, zipf=zipf),
        )
        for told, keys in (("1k", 1_000), ("100k", 100_000), ("10m", 10_000_000))
        for zipf in (False, True)
    ),
    Workload("group_10k_columnar", "group", "posts counted by author, 10k authors, by columns", "Count"),
    *(
        Workload(f"map_half_{count}_partitions", "map", f"map_half, {count} partitions", input=Input(partitions=count))
        for count in (1, 16, 64)
    ),
    *(
        Workload(f"map_half_{told}", "map", f"map_half, values of about {told}", input=Input(words=words))
        for told, words in (("1kb", 160), ("10kb", 1_660))
    ),
)

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for exact in _EXACT
    for workload in (exact, replace(exact, name=exact.name + SECOND, guarantee=AT_LEAST_ONCE))
}
