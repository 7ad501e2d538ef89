"""Durations as people write them: `"100ms"`, `"2s"`, `"1m"`, `"4h"`, `"30d"`."""

from __future__ import annotations

import re
from datetime import timedelta

from streams.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(written: str | timedelta) -> timedelta:
    """Read a duration.

    Raises:
        UsageError: it has no unit, or is not positive.
    """
    if isinstance(written, timedelta):
        read = written
    else:
        match = _WRITTEN.fullmatch(written.strip())
        if match is None:
            raise UsageError(f"{written!r} is not a duration", fix='write a number and a unit: "100ms", "2s", "1m"')
        try:
            read = timedelta(seconds=float(match[1]) * _UNITS[match[2]])
        except OverflowError as error:
            raise UsageError(f"{written!r} is too long for a duration", fix="write a shorter one") from error
    if read <= timedelta(0):
        raise UsageError(f"{written!r} is not a positive duration", fix='write for example "100ms"')
    return read
