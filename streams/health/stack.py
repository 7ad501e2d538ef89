"""What a thread is doing, read from its stack by another thread: it costs the one that works nothing.

A worker whose handler hangs cannot say so itself; its stack can.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

OWN = f"{Path(__file__).parents[1]}/"
HANDLING = "Task._process"
DOING = {
    "Checkpoint.commit": "commit, which Kafka has not answered",
    "GroupConsumer.committed": "rebalance: the transactions of previous owners are not decided",
    "Partitions.open": "rebalance: state is opened",
    "Worker.on_revoked": "rebalance: partitions are given up",
}
"""What calls of ours mean where one takes long; the first one from the outside counts."""


class Doing(NamedTuple):
    """What a thread is in: one of `DOING`, or a handler's own code as `file:line`; empty where neither."""

    call: str = ""
    handler: str = ""


def doing(thread: int) -> Doing:
    """Say what a thread of this process is in."""
    frames = list(_outermost_first(sys._current_frames().get(thread)))  # noqa: SLF001 - the only way to another stack
    names = [frame.f_code.co_qualname for frame in frames]
    call = next((DOING[name] for name in names if name in DOING), "")
    if HANDLING not in names:
        return Doing(call)
    inside = frames[names.index(HANDLING) :]
    users = [frame for frame in inside if not frame.f_code.co_filename.startswith(OWN)]
    return Doing(call, _places(users))


def _outermost_first(frame: FrameType | None) -> Iterator[FrameType]:
    inwards = []
    while frame is not None:
        inwards.append(frame)
        frame = frame.f_back
    return reversed(inwards)


def _places(frames: list[FrameType]) -> str:
    """Name the handler's line, and the innermost one where that is in another file."""
    if not frames:
        return ""
    first, last = _place(frames[0]), _place(frames[-1])
    same = frames[0].f_code.co_filename == frames[-1].f_code.co_filename
    return first if same else f"{first}, in {last}"


def _place(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}"
