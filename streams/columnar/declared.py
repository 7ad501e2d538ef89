"""What is checked of a batch processor when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from streams.columnar.columns import Columns
from streams.columnar.types import arrow, polars
from streams.errors import UsageError
from streams.topic import Topic


class Batches(Enum):
    """What a batch handler takes."""

    ARROW = "pyarrow.RecordBatch"
    POLARS = "polars.DataFrame"


def check_batches(
    name: str,
    handler: Callable[..., Any],
    event: Any,
    source: Topic[Any],
    outputs: Iterable[Topic[Any]],
    batches: Batches,
    most: int | None,
) -> None:
    """Check a batch handler against its topics; `event` is what its first parameter is annotated with, if anything.

    Raises:
        UsageError: a library is missing, a model has no columns, or the handler is of another kind.
    """
    taken = arrow().RecordBatch if batches is Batches.ARROW else polars().DataFrame
    if any(is_kind(handler) for is_kind in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)):
        raise UsageError(
            f"processor {name} is async, a batch handler computes and does not wait",
            fix="write a plain def, or handle the records one by one with @app.processor",
        )
    if inspect.isgeneratorfunction(handler):
        raise UsageError(f"processor {name} yields", fix="return one batch, of pyarrow.concat_batches perhaps")
    if isinstance(event, type) and event is not type(None) and not issubclass(taken, event):
        raise UsageError(
            f"processor {name} expects {event.__name__}, but is given a {batches.value}",
            fix="as_polars=True gives a DataFrame, without it a RecordBatch",
        )
    if most is not None and most < 1:
        raise UsageError(f"batch processor {name}: records={most}", fix="give 1 or more")
    written = list(outputs)
    if len(written) > 1:
        raise UsageError(
            f"batch processor {name} has {len(written)} outputs",
            fix="give it one topic, and each other one a processor of its own",
        )
    for topic in (source, *written):
        _check_model(name, topic)
    if any(topic.event_ids for topic in written):
        raise UsageError(
            f"batch processor {name} writes {written[0].name}, whose records get ids of the record that they came from",
            fix="a batch does not tell which that is: leave event_ids out there, or use @app.processor",
        )


def _check_model(name: str, topic: Topic[Any]) -> None:
    try:
        Columns(topic.model)
    except UsageError as error:
        raise UsageError(f"batch processor {name}, topic {topic.name}: {error.what}", fix=error.fix) from None
