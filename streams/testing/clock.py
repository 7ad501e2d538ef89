"""Time that stands still until somebody moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2024, 1, 1, tzinfo=UTC)


class VirtualClock:
    """A wall clock and a monotonic one that move together, in whole microseconds, and only when told."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._passed = timedelta(0)
        self._seconds = 0.0

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._passed += by
        self._seconds = self._passed.total_seconds()

    def now(self) -> datetime:
        """Return the date and time."""
        return self._start + self._passed

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return round(self.now().timestamp() * 1000)

    def seconds(self) -> float:
        """Return the seconds since the start, as `time.monotonic` counts them."""
        return self._seconds
