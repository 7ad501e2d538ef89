"""Standard output, whose reader may leave before the end, as `head` does."""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import NoReturn

READER_GONE = 128 + signal.SIGPIPE


def write(text: str) -> None:
    """Write to standard output; end the program quietly where nobody reads it any more."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        leave()


def flush() -> None:
    """Hand over what was written; end the program quietly where nobody reads it any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        leave()


def leave_if_unread() -> None:
    """End the program quietly if nobody reads its output any more; one that only waits would never notice."""
    watched = select.poll()
    watched.register(sys.stdout.fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0)):
        leave()


def leave() -> NoReturn:
    """End with the code of a program that SIGPIPE ended; what is still buffered goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(READER_GONE)
