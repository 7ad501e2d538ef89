"""Handlers of every kind, called in the thread of the replay, one after the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable
from typing import Any

from streams.context import Context
from streams.topology import Handler


def in_this_thread(handler: Handler, loop: asyncio.Runner) -> Handler:
    """Return a handler that is no coroutine: one that is runs in `loop` to its end."""
    if inspect.iscoroutinefunction(handler):
        return lambda value, ctx: loop.run(_answered(handler, value, ctx))
    if inspect.isasyncgenfunction(handler):
        return lambda value, ctx: loop.run(_collected(handler(value, ctx)))
    return handler


async def _answered(handler: Handler, value: Any, ctx: Context) -> Any:
    return await handler(value, ctx)


async def _collected(values: AsyncIterable[Any]) -> list[Any]:
    return [value async for value in values]
