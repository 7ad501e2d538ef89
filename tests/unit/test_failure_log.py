"""Refused records in the log: the first ones of each interval, with one traceback."""

from structlog.testing import capture_logs

from streams.errors import DecodeError, HandlerError
from streams.failures.log import INTERVAL, MOST, FailureLog
from streams.record import Record


def failed() -> HandlerError:
    error = HandlerError()
    error.__cause__ = ValueError("negative")
    return error


def test_the_first_refusals_of_an_interval_are_told_and_one_traceback() -> None:
    now = [0.0]
    log = FailureLog(lambda: now[0])
    record = Record("orders", b"k", b"v", 0, 1, 7)
    with capture_logs() as told:
        log.tell([(record, DecodeError("bad-magic"), "dead-letter")])
        log.tell([(record, failed(), "retrying")] * 20)
    assert len(told) == MOST
    assert [entry["stage"] for entry in told[:2]] == ["decode", "process"]
    assert told[1]["error"] == "ValueError: negative"
    assert (told[1]["topic"], told[1]["partition"], told[1]["offset"]) == ("orders", 1, 7)
    assert [entry["exc_info"] is not None for entry in told] == [False, True, False, False, False]

    now[0] = INTERVAL
    with capture_logs() as told:
        log.tell([(record, failed(), "retrying")])
    assert len(told) == 1
