"""What a worker needs of its clients; production passes Kafka's, tests pass those in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from streams.checkpoint import Transaction
from streams.record import Polled, Positions, TopicPartition


class Input(Protocol):
    """The group's consumer; `poll` tells the worker of rebalances."""

    def poll(self, most: int, timeout: float) -> Polled:
        """Take what is there."""

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> dict[TopicPartition, int | None]:
        """Return the group's stable committed offsets."""

    def assign(self, positions: Positions) -> None:
        """Begin to read partitions."""

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Stop delivering partitions."""

    def restart(self, positions: Positions) -> None:
        """Read from these positions, whether paused or not."""

    def group_metadata(self) -> Any:
        """Return the member's generation."""


class Output(Transaction, Protocol):
    """The producer, beside what a checkpoint needs of it."""

    def abort(self) -> None:
        """Roll the open transaction back."""
