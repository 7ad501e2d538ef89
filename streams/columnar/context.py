"""What a batch handler may touch besides its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from streams.columnar.codec import column_codec
from streams.columnar.columns import listed, rows_of, spread
from streams.columnar.types import arrow
from streams.keys import Key
from streams.record import RawRecord
from streams.state.task_state import TaskState
from streams.topic import Store, Table

K = TypeVar("K", bound=Key)
V = TypeVar("V")


class BatchContext:
    """State of the partition that the batch was read from, and its records as they were read.

    A handler that raises leaves nothing of what it put, and may be called again with a part of the batch.
    """

    records: Sequence[RawRecord]
    """The records of the rows, in their order: bytes, headers, timestamp, partition, offset."""

    now_ms: int
    """The worker's clock, in milliseconds since the epoch; what depends on it comes out otherwise when it is redone."""

    def __init__(self, state: TaskState, records: Sequence[RawRecord], now_ms: int) -> None:
        self._state = state
        self.records = records
        self.now_ms = now_ms

    @property
    def partition(self) -> int:
        """The partition of all rows."""
        return self.records[0].partition

    @cached_property
    def keys(self) -> Any:
        """The key of each row, as it was read: an Arrow array of bytes."""
        return arrow().array([record.key for record in self.records], arrow().binary())

    @cached_property
    def timestamps(self) -> Any:
        """The time of each row's record: an Arrow array of timestamps in milliseconds, in UTC."""
        return arrow().array([record.timestamp_ms for record in self.records], arrow().timestamp("ms", "UTC"))

    @cached_property
    def offsets(self) -> Any:
        """The offset of each row's record: an Arrow array of 64-bit integers. There may be gaps."""
        return arrow().array([record.offset for record in self.records], arrow().int64())

    def get(self, source: Store[K, V] | Table[K, V], key: K) -> V | None:
        """Return the newest value of a key in a store or table; None where there is none.

        Raises:
            UsageError: the processor does not use it; the worker stops.
            HandlerError: the key of a table lives in another partition; the records with it are refused.
        """
        return self._state.get(source, key)

    def get_many(self, source: Store[K, V] | Table[K, V], keys: Iterable[K]) -> list[V | None]:
        """Return the newest value of each key, in their order; None where there is none.

        Raises:
            UsageError, HandlerError: as `get`.
        """
        return self._state.get_many(source, keys)

    def get_columns(self, source: Store[K, V] | Table[K, V], keys: Any) -> Any:
        """Return the newest values of keys as an Arrow record batch with the columns of the model.

        It has a row for each key, in their order; where there is no value every column is null. `keys` is an Arrow
        array, a polars series or a list.

        Raises:
            UsageError: as `get`; also the model has no columns.
            HandlerError: as `get`.
        """
        codec = column_codec(self._state.codec(source))
        frames = self._state.get_frames(source, listed(keys))
        decoded = codec.decode_columns([frame for frame in frames if frame is not None])
        for error in decoded.errors.values():
            raise error
        return spread(decoded.batch, frames)

    def put(self, store: Store[K, V], key: K, value: V | None) -> None:
        """Set the value of a key; None deletes it.

        Raises:
            UsageError: the processor does not use the store, or the value is of another model.
        """
        self._state.put(store, key, value)

    def put_many(self, store: Store[K, V], values: Mapping[K, V | None] | Iterable[tuple[K, V | None]]) -> None:
        """Set the values of keys, given as a mapping or as pairs, the last one of a key counting; None deletes.

        Where one cannot be set, none is.

        Raises:
            UsageError: as `put`.
        """
        self._state.put_many(store, values.items() if isinstance(values, Mapping) else values)

    def put_columns(self, store: Store[K, V], keys: Any, values: Any) -> None:
        """Set the values of keys to the rows of a record batch, a table or a polars frame, in their order.

        What the columns may be is as for what a handler returns; `keys` as in `get_columns`, the last row of a key
        counting. All of them are set or, where one cannot be, none. They are encoded at once and natively: for many
        keys that is several times quicker than `put_many` of objects.

        Raises:
            UsageError: the processor does not use the store, or its model has no columns.
            HandlerError: the columns are not the model's, or there are more or fewer rows than keys.
            EncodeError: a value does not fit the schema.
        """
        codec = column_codec(self._state.codec(store))
        self._state.put_frames(store, dict(rows_of(keys, values, codec.columns, codec.encode_columns)))
