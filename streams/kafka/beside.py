"""Calls that wait for a broker, and work that is done meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streams.ahead import Meanwhile


class Beside:
    """Has a thread for calls that wait, so that its owner's thread can go on with something else."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")

    def call(self, waits: Callable[[], None], meanwhile: Meanwhile) -> None:
        """Make a call, and return once it has returned, or raise what it raised.

        Where there is nothing to do meanwhile it is made in the caller's thread.
        """
        if not meanwhile():
            waits()
            return
        made = self._thread.submit(waits)
        try:
            while not made.done() and meanwhile():
                pass
        finally:
            made.result()
