"""What the broker refuses: the record to blame is found, its neighbours pass, and aborts do not go on for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rig import DEAD_LETTERS, PROCESSOR, Rig, Slot

from streams import DEAD_LETTER, SKIP, Failure
from streams.errors import AbortedError, FencedError, IncompatibleError, SendError
from streams.record import TopicPartition
from streams.worker import MOST_ABORTS

ZERO, ONE = TopicPartition("in", 0), TopicPartition("in", 1)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def turn(slot: Slot, before: Callable[[], None] = lambda: None) -> None:
    for _ in range(300):
        before()
        slot.worker.run_once()


def test_one_record_that_the_broker_refuses_is_found_and_its_neighbours_pass(rig: Rig) -> None:
    """INV-4, INV-9: by ever smaller transactions; the dead letter is in the same transaction as its offset."""
    rig.start(0)
    rig.produce([("a", "ok")] * 40 + [("a", "large")] + [("a", "ok")] * 40)
    rig.settle()
    assert rig.log.committed(DEAD_LETTERS)[0].key == b"a"
    assert rig.judge() > 0


def test_after_an_offender_transactions_grow_again(rig: Rig) -> None:
    slot = rig.start(0)
    rig.produce([("a", "large")])
    rig.settle()
    rig.produce([("a", "ok")] * 60)
    rig.settle()
    assert slot.worker._narrowing._most is None


def test_a_dead_letter_that_the_broker_refuses_too_ends_the_worker_with_a_clear_message(tmp_path: Path) -> None:
    """INV-1: it may neither be dropped nor passed over."""
    rig = Rig(tmp_path, refuses=lambda record: record.topic in {"out", DEAD_LETTERS})
    slot = rig.start(0)
    rig.spread()
    rig.produce([("a", "ok")])
    with pytest.raises(IncompatibleError, match="cannot be kept") as raised:
        turn(slot)
    assert f"raise max.message.bytes of {DEAD_LETTERS}" in str(raised.value)
    assert rig.offsets == {}
    slot.shut(failed=True)
    assert rig.offsets == {}


def test_a_dead_letter_that_is_not_taken_is_not_answered_as_an_output_that_is_not(tmp_path: Path) -> None:
    """Its record failed in its own way; by the policy for what the broker refuses it might be skipped."""
    skipped = replace(PROCESSOR, on_failure=Failure(then=DEAD_LETTER, by_type={SendError: SKIP}))
    rig = Rig(tmp_path, skipped, refuses=lambda record: record.topic == DEAD_LETTERS)
    slot = rig.start(0)
    rig.spread()
    rig.produce([("a", "ok"), ("a", "raises"), ("a", "ok")])
    with pytest.raises(IncompatibleError, match=f"cannot be kept: {DEAD_LETTERS}: too large"):
        turn(slot)
    slot.shut(failed=True)
    assert sum(rig.offsets.values()) <= 1, "what comes before it may be committed, it is not"


def test_a_topic_that_is_gone_is_nobodys_fault(rig: Rig) -> None:
    """It ends the worker at the first abort; no record is refused for it. Nothing is open while it is looked for."""
    looked = []

    def examine() -> None:
        looked.append((rig.offsets, slot.producer.transaction))
        raise IncompatibleError("out does not exist")

    rig.examine = examine
    slot = rig.start(0)
    rig.spread()
    rig.produce([("a", "ok")] * 3)

    def fail_what_is_open() -> None:
        if slot.producer.transaction is not None:
            rig.chaos.arm(0, AbortedError("3 records were not acknowledged"))

    with pytest.raises(IncompatibleError, match="out does not exist"):
        turn(slot, fail_what_is_open)
    slot.shut(failed=True)
    assert looked == [({}, None)]
    assert rig.offsets == {}
    assert rig.log.committed(DEAD_LETTERS) == rig.log.committed("out") == []


def test_a_record_that_is_refused_has_nobody_look_at_the_topics(rig: Rig) -> None:
    rig.examine = lambda: pytest.fail("it is the record's own fault")
    rig.start(0)
    rig.produce([("a", "large")])
    rig.settle()
    assert len(rig.log.committed(DEAD_LETTERS)) == 1


def test_aborts_in_a_row_without_progress_end_the_worker(rig: Rig) -> None:
    slot = rig.start(0)
    rig.spread()
    rig.produce([("a", "ok")])
    with pytest.raises(FencedError, match="in a row"):
        turn(slot, lambda: rig.chaos.arm(0, AbortedError("chaos")))
    rig.chaos.disarm()
    slot.shut(failed=True)


def test_aborts_with_progress_between_them_do_not_add_up(rig: Rig) -> None:
    slot = rig.start(0)
    for _ in range(3 * MOST_ABORTS):
        rig.produce([("a", "ok")])
        rig.chaos.arm(3, AbortedError("chaos"))
        rig.settle()
    assert rig.slots[0] is slot
    assert rig.judge() > 0
