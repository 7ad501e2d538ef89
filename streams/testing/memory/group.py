"""The coordinator of one group: who owns which partition, and what each member is still to be told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from streams.record import TopicPartition
from streams.testing.memory.log import Log


class Member(Protocol):
    """What the coordinator knows of a member."""

    in_group: bool

    def tell(self, event: str, partitions: list[TopicPartition]) -> None:
        """Queue an event for the member's next poll."""

    def untold(self) -> set[TopicPartition]:
        """Return the partitions of which the member does not know yet that they are its own."""

    def holds(self, partition: TopicPartition) -> bool:
        """Tell whether the member reads a partition."""

    def forget_events(self) -> None:
        """Drop what was not told yet."""


class Membership(NamedTuple):
    """What fences a commit: the member, whose generation the coordinator checks; without one nothing does."""

    group: str
    member: Member | None

    def holds(self) -> bool:
        """Tell whether the coordinator takes offsets on this proof."""
        return self.member is None or self.member.in_group


class Group:
    """A cooperative group: a partition is given up by its owner before the next one gets it."""

    def __init__(self, log: Log, name: str, topic: str) -> None:
        self.log = log
        self.name = name
        self.owner: dict[TopicPartition, Member | None] = dict.fromkeys(log.partitions(topic))
        self._wanted: dict[TopicPartition, Member] = {}

    def assign(self, partitions: Iterable[TopicPartition], to: Member) -> None:
        """Move partitions to a member."""
        for partition in partitions:
            owner = self.owner[partition]
            if owner is to or partition in self._wanted:
                continue
            if owner is None:
                self._grant(partition, to)
            else:
                self._wanted[partition] = to
                owner.tell("revoked", [partition])

    def balance(self, members: list[Member]) -> None:
        """Share the partitions evenly: free ones go to whoever has least, then the richest give to the poorest."""
        planned = {member: [tp for tp in self.owner if self._heir(tp) is member] for member in members}
        for partition in [tp for tp in self.owner if self._heir(tp) is None]:
            poorest = min(members, key=lambda member: len(planned[member]))
            planned[poorest].append(partition)
            self.assign([partition], poorest)
        while True:
            poorest = min(members, key=lambda member: len(planned[member]))
            richest = max(members, key=lambda member: len(planned[member]))
            movable = [tp for tp in planned[richest] if tp not in self._wanted]
            if len(planned[richest]) - len(planned[poorest]) < 2 or not movable:  # noqa: PLR2004 - one cannot be shared
                return
            planned[richest].remove(movable[-1])
            planned[poorest].append(movable[-1])
            self.assign([movable[-1]], poorest)

    def throw_out(self, member: Member, successor: Member | None = None) -> None:
        """Take everything from a member that does not know of it yet, as when its session ended."""
        gone = [tp for tp, owner in self.owner.items() if owner is member and tp not in member.untold()]
        if not gone:
            return
        member.in_group = False
        member.forget_events()
        member.tell("lost", [tp for tp in gone if member.holds(tp)])
        self.leave(member, successor)

    def leave(self, member: Member, successor: Member | None = None) -> None:
        """Free what a member owned, for `successor` if there is one."""
        for partition, owner in self.owner.items():
            if owner is member:
                self._free(partition, successor)
        for partition in [tp for tp, wanted in self._wanted.items() if wanted is member]:
            del self._wanted[partition]

    def released(self, partition: TopicPartition, member: Member) -> None:
        """Take a partition back from its owner."""
        if self.owner[partition] is member:
            self._free(partition, None)

    def _heir(self, partition: TopicPartition) -> Member | None:
        return self._wanted.get(partition, self.owner[partition])

    def _free(self, partition: TopicPartition, successor: Member | None) -> None:
        self.owner[partition] = None
        heir = self._wanted.pop(partition, successor)
        if heir is not None:
            self._grant(partition, heir)

    def _grant(self, partition: TopicPartition, to: Member) -> None:
        self.owner[partition] = to
        to.tell("assigned", [partition])
