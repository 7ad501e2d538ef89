"""What the Faust engine does not run, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streams.errors import UsageError
from streams.failures.policy import FailurePolicy
from streams.topology import Processor, Runs


def refuse(processors: Iterable[Processor]) -> None:
    """Let only stateless processors pass.

    Raises:
        UsageError: some of them need what Faust cannot give; the message lists every reason.
    """
    reasons = [f"{one.name} {reason}" for one in processors for reason in _reasons(one)]
    if reasons:
        raise UsageError(
            "the faust engine runs stateless processors, at least once:\n" + "\n".join(f"  - {one}" for one in reasons),
            fix="run these on the native engine (leave --engine out), and choose the others by --processor",
        )


def _reasons(processor: Processor) -> Iterator[str]:
    for store in processor.stores:
        yield f"keeps the store {store.name}: a Faust table cannot take back what a record wrote that then failed"
    for table in processor.tables:
        yield f"follows the table {table.name}: Faust reads a table only through an app's own changelog"
    if processor.inbox is not None:
        yield "has an inbox, which is state: it could not be committed together with the offset"
    if processor.reply is not None:
        yield "replies to requests: a reply that is sent twice finds nobody who waits"
    if processor.batches is not None:
        yield "takes batches of columns, which only the native engine hands over whole"
    if processor.effect:
        yield "is an effect: effects run in lanes, which commit the finished part of a partition"
    elif processor.runs is not Runs.IN_STEP:
        yield "is async or blocking: such handlers run in lanes, which commit the finished part of a partition"
    if any(answer.then is FailurePolicy.PARK for answer in processor.on_failure.answers()):
        yield "parks records, which takes the store of waiting records: use DEAD_LETTER, SKIP or STOP"
