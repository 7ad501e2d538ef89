"""Progress on stderr: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from stories.run import Progress

LINE_EVERY = 5.0  # seconds between two lines where stderr is no terminal


class Display:
    """Shows where the processors of a story stand, with rates since the last look."""

    def __init__(self, story: str) -> None:
        self._story = story
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True) if self._console.is_terminal else None
        self._resources = ExitStack()
        self._before: dict[str, tuple[float, int]] = {}
        self._phase = ""
        self._printed = 0.0

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live is not None:
            self._resources.enter_context(self._live)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Stop drawing."""
        self._resources.close()

    def show(self, phase: str, stands: list[Progress]) -> None:
        """Show a phase of the run, and where each processor stands in it."""
        now = time.monotonic()
        if self._live is not None:
            self._live.update(self._table(phase, stands, now))
        elif phase != self._phase or now - self._printed >= LINE_EVERY:
            told = "  ".join(
                f"{one.processor} {one.done:,} ({self._rate(one, now):,.0f}/s, lag {one.lag:,})" for one in stands
            )
            self._console.print(f"{self._story}: {phase}  {told}".rstrip(), highlight=False, soft_wrap=True)
            self._phase, self._printed = phase, now

    def _table(self, phase: str, stands: list[Progress], now: float) -> Table:
        table = Table("processor", "done", "per second", "lag", title=f"{self._story}: {phase}", title_justify="left")
        for one in stands:
            table.add_row(one.processor, f"{one.done:,}", f"{self._rate(one, now):,.0f}", f"{one.lag:,}")
        return table

    def _rate(self, stands: Progress, now: float) -> float:
        then, done = self._before.get(stands.processor, (now, stands.done))
        self._before[stands.processor] = (now, stands.done)
        return (stands.done - done) / (now - then) if now > then else 0.0
