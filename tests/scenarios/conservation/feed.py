"""What goes in: items of every kind and bytes that are none, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from streams.avro.codec import Codec
from streams.record import RawRecord, Record

from .app import FOREVER, MOMENT, OK, STUCK, UNWANTED, Item

RECORDS_PER_KEY = 20
FAILING = ((FOREVER, 0.002), (MOMENT, 0.006), (UNWANTED, 0.001), (STUCK, 0.001))  # 1 % of all
POISON = 0.001
FIRST_MS = 1_760_000_000_000
BATCH = 2_000


def records(
    topic: str, codec: Codec[Item], count: int, *, failures: bool, unknown: bool = True, seed: int = 1
) -> Iterator[list[RawRecord]]:
    """Yield `count` records in batches; without `failures` all are well, without `unknown` no schema is asked for.

    An id that the registry does not know holds its partition for the five seconds that it may still come up.
    """
    random = Random(seed)
    keys = max(1, count // RECORDS_PER_KEY)
    for start in range(0, count, BATCH):
        items = [
            Item(key=f"k{random.randrange(keys)}", n=n, kind=_kind(random) if failures else OK)
            for n in range(start, min(count, start + BATCH))
        ]
        frames = codec.encode(items)
        yield [
            Record(
                topic,
                item.key.encode(),
                _poison(random, frame, item.n, unknown=unknown) if failures and random.random() < POISON else frame,
                FIRST_MS + item.n,
                headers=(("n", b"%d" % item.n),),
            )
            for item, frame in zip(items, frames, strict=True)
        ]


def _kind(random: Random) -> str:
    drawn = random.random()
    for kind, share in FAILING:
        drawn -= share
        if drawn < 0:
            return kind
    return OK


def _poison(random: Random, frame: bytes, n: int, *, unknown: bool) -> bytes:
    """Return bytes that no reader takes, of one of several kinds."""
    kinds = [b"", b"junk %d" % n, frame[: random.randint(1, len(frame) - 1)], frame + b"\0"]
    if unknown:
        kinds.append(b"\0\x7f\0\0\1" + frame[5:])
    return random.choice(kinds)
