"""Partitions that nobody owns are noticed once they stay so, by one worker of the group."""

from __future__ import annotations

import threading

import pytest

from streams.errors import UnreachableError
from streams.record import TopicPartition
from streams.watch.orphans import OrphanWatch

ZERO, ONE, TWO = (TopicPartition("in", number) for number in range(3))
Members = dict[str, list[TopicPartition]]


class Rig:
    def __init__(self, me: str = "a", every: float = 60.0) -> None:
        self.members: Members | None = {"a": [ZERO], "b": [ONE]}
        self.fails = 0
        self.looks = threading.Semaphore(0)
        self.shared = 0
        self.watch = OrphanWatch(me, [ZERO, ONE, TWO], self.owners, self.share, every)

    def owners(self) -> Members | None:
        self.looks.release()
        if self.fails:
            self.fails -= 1
            raise UnreachableError("no answer")
        return self.members

    def share(self) -> None:
        self.shared += 1


def test_what_nobody_owns_at_two_looks_is_shared_anew_once() -> None:
    rig = Rig()

    rig.watch.look()
    assert rig.shared == 0
    rig.watch.look()
    assert rig.shared == 1
    rig.watch.look()
    assert rig.shared == 1


@pytest.mark.parametrize("meanwhile", [None, {"a": [ZERO, TWO], "b": [ONE]}, {"a": [ZERO], "b": [TWO]}, {}])
def test_what_has_an_owner_or_waits_for_one_is_left_alone(meanwhile: Members | None) -> None:
    rig = Rig()

    rig.watch.look()
    rig.members = meanwhile
    rig.watch.look()

    assert rig.shared == 0


def test_only_one_member_acts() -> None:
    rig = Rig("b")
    for _ in range(3):
        rig.watch.look()

    assert rig.shared == 0


def test_it_looks_in_a_thread_until_it_is_closed_whether_kafka_answers_or_not() -> None:
    rig = Rig(every=0.001)
    rig.fails = 2
    rig.watch.start()
    for _ in range(5):
        assert rig.looks.acquire(timeout=10)
    rig.watch.close()
    rig.watch.join()

    assert rig.shared > 0
