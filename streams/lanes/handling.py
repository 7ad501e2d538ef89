"""Where the handlers of a worker run. Here: in `step` itself, so every record is ready and nothing has to be kept."""

from __future__ import annotations

from collections.abc import Sequence

from streams.owned import Owned
from streams.record import RawRecord, TopicPartition


class Handling:
    """What the straight path tells and asks whoever runs handlers. `LaneFeed` runs them ahead of it."""

    ahead = False
    """Whether handlers run ahead of the step."""
    running = 0
    """How many of them run now."""

    def turn(self, timeout: float) -> None:
        """Take in what handlers have finished; wait for the first so many seconds."""

    def has_news(self, partition: TopicPartition, owned: Owned) -> bool:  # noqa: ARG002 - for those who override it
        """Tell whether a handler of a new record could begin now, or one can be stepped."""
        return True

    def can_go_on(self, owned: Owned, record: RawRecord) -> bool:  # noqa: ARG002 - the same
        """Tell the same of a record that waited or comes back."""
        return True

    def begin(self, partition: TopicPartition, owned: Owned) -> None:
        """Begin what is buffered."""

    def ready(self, owned: Owned, batch: list[RawRecord]) -> list[RawRecord]:  # noqa: ARG002 - the same
        """Return the records of a batch that can be stepped, up to the first that cannot."""
        return batch

    def retry(self, owned: Owned, due: list[RawRecord]) -> list[RawRecord]:  # noqa: ARG002 - the same
        """Begin records that waited; return those that can be stepped."""
        return due

    def come_back(self, owned: Owned, batch: list[RawRecord]) -> list[RawRecord]:  # noqa: ARG002 - the same
        """Begin records that come back; return those that can be stepped, up to the first that cannot."""
        return batch

    def stepped(self, owned: Owned, records: Sequence[RawRecord]) -> None:
        """Note records that were dealt with."""

    def review(self, partition: TopicPartition, owned: Owned) -> None:
        """Look again at which keys wait: that was changed outside of a step."""

    def committed(self) -> None:
        """Note that everything that was stepped is committed."""

    def hold(self, partition: TopicPartition, owned: Owned) -> None:
        """Begin nothing of a partition for now."""

    def rewind(self, partition: TopicPartition, owned: Owned) -> None:
        """Note that what was stepped of a partition since the last commit comes again."""

    def close(self, partition: TopicPartition) -> None:
        """Give a partition up."""

    def killers(self, partition: TopicPartition) -> list[int]:  # noqa: ARG002 - the same
        """Return the offsets of records that killed their process often enough to be given up."""
        return []

    def stop(self) -> None:
        """Begin nothing until `go_on`; what runs may end."""

    def go_on(self) -> None:
        """Begin again what may begin."""

    def end(self) -> None:
        """Begin nothing more, and answer no handler."""
