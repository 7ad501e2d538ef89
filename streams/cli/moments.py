"""Points in time as people write them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from streams.duration import duration
from streams.errors import UsageError

FORMS = "2026-02-03T04:05:06[+01:00], 2026-02-03, -15m (so long ago) or epoch milliseconds"
_SECONDS = re.compile(r"\d{9,10}")  # as milliseconds they would lie in early 1970


def milliseconds(text: str, option: str, now_ms: int) -> int:
    """Read a point in time as milliseconds since the epoch; without an offset it is UTC.

    Raises:
        UsageError: it has another form, or lies in the future.
    """
    moment = _read(text.strip(), option, now_ms)
    if moment > now_ms:
        raise UsageError(
            f"{option} {text} lies in the future: it is {shown(now_ms)} now",
            fix="name an earlier time, or leave it out",
        )
    if moment < 0:
        raise UsageError(f"{option} {text} lies before 1970, where Kafka's time begins", fix="name a later time")
    return moment


def shown(moment_ms: int) -> str:
    """Show a point in time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _read(text: str, option: str, now_ms: int) -> int:
    if text.startswith("-"):
        return now_ms - round(duration(text[1:]).total_seconds() * 1000)
    if text.isascii() and text.isdecimal():
        if _SECONDS.fullmatch(text):
            raise UsageError(f"{option} {text} looks like seconds", fix=f"write milliseconds: {text}000")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: not a point in time ({error})", fix=f"write {FORMS}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
