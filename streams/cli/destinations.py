"""Where a group shall go on, as people write it: `--to` and `--shift`."""

from __future__ import annotations

import re
import time

from streams.cli.moments import milliseconds
from streams.errors import UsageError
from streams.replay.moves import Destination, Kind

FORMS = "earliest, latest, committed, an offset, 2026-02-03T04:05:06[+01:00], 2026-02-03 or -15m (so long ago)"
_EPOCH = re.compile(r"\d{12,14}")  # milliseconds of this century; no partition has such offsets


def destination(to: str | None, shift: int | None, now_ms: int | None = None) -> Destination:
    """Read the options.

    Raises:
        UsageError: none or both are given, or what is given names no place.
    """
    if (to is None) == (shift is None):
        raise UsageError("say where the group goes on, once", fix=f"give --to ({FORMS}) or --shift N")
    if shift is not None:
        if shift == 0:
            raise UsageError("--shift 0 moves nothing", fix="write --shift -100 to read the last 100 again")
        return Destination(Kind.SHIFT, shift)
    assert to is not None
    written = to.strip()
    if written in {"earliest", "latest", "committed"}:
        return Destination(Kind(written))
    if written.isascii() and written.isdecimal() and not _EPOCH.fullmatch(written):
        return Destination(Kind.OFFSET, int(written))
    if re.fullmatch(r"-\d+", written):
        raise UsageError(
            f"--to {to} is no offset: they begin at 0", fix=f"write --shift {to} for so many back, -15m for a time"
        )
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    try:
        return Destination(Kind.TIME, milliseconds(written, "--to", now))
    except UsageError as error:
        if "not a point in time" not in error.what:
            raise
        raise UsageError(f"--to {to} names no place in a topic", fix=f"write {FORMS}") from None
